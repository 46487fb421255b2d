//! Profile pictures: fetched or taken from the request, and made into what WhatsApp takes.

use std::fs::File;

use tokio::{task::spawn_blocking, time::timeout};

use super::media::{Desk, FileError, OVERALL, Source};
use crate::media::{self, MediaType};

impl Desk {
    /// A square JPEG of an image that came with a request or is behind a URL.
    pub async fn portrait(&self, source: Source) -> Result<Vec<u8>, FileError> {
        timeout(OVERALL, async {
            let _place = self.place().await.ok_or(FileError::Internal)?;
            let image = self.obtain(source, MediaType::Image.max_bytes()).await?;
            spawn_blocking(move || {
                let mut file = File::open(image.file.path())?;
                let detected =
                    media::detect(&mut file, image.content_type.as_deref(), image.name.as_deref())?;
                let jpeg = detected.format().and_then(|format| media::portrait(&mut file, format));
                jpeg.ok_or_else(|| FileError::Unsupported {
                    media_type: "profile_picture",
                    detected: detected.mime().to_owned(),
                })
            })
            .await
            .map_err(|_| FileError::Internal)?
        })
        .await
        .unwrap_or(Err(FileError::Timeout))
    }
}
