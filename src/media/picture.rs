//! Images: dimensions, whether they move, and the small picture that a phone shows before it has the large one.

use std::io::{self, BufReader, Cursor, Read, SeekFrom};

use image::{
    DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage, codecs::jpeg::JpegEncoder,
    imageops::FilterType, metadata::Orientation,
};

use super::{Facts, Format, MediaType, Source, guarded, read_at};

/// Larger images are sent with their dimensions and without a thumbnail. 24 megapixels are what ordinary cameras make;
/// decoded they take 72 MB, and up to twice that again while a progressive JPEG is decoded.
const MAX_PIXELS: u64 = 24_000_000;
/// What a decoder may allocate for itself and its output: four bytes of each pixel, and some air.
const MAX_ALLOCATION: u64 = 4 * MAX_PIXELS + (16 << 20);

/// The longest edge. Baileys makes 32 pixels of width, which phones scale up to a blur; 72 can be told apart, and at
/// quality 50 is 1 to 2 KiB. The edge, not the width: a tall image gets no larger than a wide one.
const EDGE: u32 = 72;
/// The thumbnail travels inside the message, once for every device of every recipient.
const MAX_THUMBNAIL: usize = 4096;
/// What is tried until the thumbnail is small enough: edge and JPEG quality.
const ATTEMPTS: [(u32, u8); 4] = [(EDGE, 50), (EDGE, 30), (48, 30), (32, 20)];

pub(super) fn facts(source: &mut dyn Source, format: Format) -> Facts {
    let animated = match format {
        Format::Webp => is_animated_webp(source),
        Format::Gif => is_animated_gif(source),
        _ => false,
    };
    let (width, height, thumbnail) = guarded(|| decode(source, format)).unwrap_or_default();
    Facts { width, height, thumbnail, animated, ..Facts::default() }
}

/// The edge of a profile picture (what Baileys and WhatsApp Web send), and the least that WhatsApp shows sharply.
const PORTRAIT: u32 = 640;
/// Qualities that are tried until the picture is small enough for one stanza.
const PORTRAIT_QUALITIES: [u8; 4] = [85, 70, 50, 30];
const PORTRAIT_MAX: usize = 100 << 10;

/// A picture as profiles have it: the middle of it as a square JPEG of at most 640 pixels an edge and 100 KiB. `None`: what
/// was given is no JPEG, PNG, WebP or GIF that can be read, or has more than 24 megapixels.
///
/// Memory and time: one decoded image. Meant for a thread that may block.
pub fn portrait(source: &mut dyn Source, format: Format) -> Option<Vec<u8>> {
    guarded(|| {
        let format = match format {
            Format::Jpeg => ImageFormat::Jpeg,
            Format::Png => ImageFormat::Png,
            Format::Gif => ImageFormat::Gif,
            Format::Webp => ImageFormat::WebP,
            _ => return None,
        };
        let mut decoder = reader(source, format)?.into_decoder().ok()?;
        let (width, height) = decoder.dimensions();
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let small =
            u64::from(width) * u64::from(height) <= MAX_PIXELS && decoder.total_bytes() <= MAX_ALLOCATION;
        if !small || width == 0 || height == 0 {
            return None;
        }
        let image = DynamicImage::from_decoder(decoder).ok()?;
        let edge = width.min(height);
        let mut square = image.crop_imm((width - edge) / 2, (height - edge) / 2, edge, edge);
        drop(image);
        if edge > PORTRAIT {
            square = square.resize_exact(PORTRAIT, PORTRAIT, FilterType::CatmullRom);
        }
        square.apply_orientation(orientation);
        let square = on_white(&square);
        PORTRAIT_QUALITIES.into_iter().find_map(|quality| {
            let mut jpeg = Cursor::new(Vec::new());
            JpegEncoder::new_with_quality(&mut jpeg, quality).encode_image(&square).ok()?;
            Some(jpeg.into_inner()).filter(|jpeg| jpeg.len() <= PORTRAIT_MAX)
        })
    })
}

/// Reads an image from its beginning, within the bounds of what one may be.
fn reader(source: &mut dyn Source, format: ImageFormat) -> Option<ImageReader<BufReader<&mut dyn Source>>> {
    // Decoders of JPEG read the file whole: it must not be larger than an image may be.
    if source.seek(SeekFrom::End(0)).ok()? > MediaType::Image.max_bytes() {
        return None;
    }
    source.seek(SeekFrom::Start(0)).ok()?;
    let mut reader = ImageReader::with_format(BufReader::new(source), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOCATION);
    reader.limits(limits);
    Some(reader)
}

type Decoded = (Option<u32>, Option<u32>, Option<Vec<u8>>);

fn decode(source: &mut dyn Source, format: Format) -> Option<Decoded> {
    let format = match format {
        Format::Png => ImageFormat::Png,
        Format::Gif => ImageFormat::Gif,
        Format::Webp => ImageFormat::WebP,
        _ => ImageFormat::Jpeg,
    };
    let mut decoder = reader(source, format)?.into_decoder().ok()?;
    let (mut width, mut height) = decoder.dimensions();
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let small = u64::from(width) * u64::from(height) <= MAX_PIXELS && decoder.total_bytes() <= MAX_ALLOCATION;
    let turned = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    if turned {
        (width, height) = (height, width);
    }
    let thumbnail = if small {
        // A damaged image still has the dimensions of its header. The guard here keeps them over a panic as well.
        guarded(|| DynamicImage::from_decoder(decoder).ok()).and_then(|image| thumbnail(&image, orientation))
    } else {
        None
    };
    Some((Some(width), Some(height), thumbnail))
}

fn thumbnail(image: &DynamicImage, orientation: Orientation) -> Option<Vec<u8>> {
    ATTEMPTS.into_iter().find_map(|(edge, quality)| {
        let mut small = if image.width() > edge || image.height() > edge {
            image.thumbnail(edge, edge)
        } else {
            image.clone()
        };
        small.apply_orientation(orientation);
        let mut jpeg = Cursor::new(Vec::new());
        JpegEncoder::new_with_quality(&mut jpeg, quality).encode_image(&on_white(&small)).ok()?;
        Some(jpeg.into_inner()).filter(|jpeg| jpeg.len() <= MAX_THUMBNAIL)
    })
}

/// JPEG knows no transparency; phones show it as white.
fn on_white(image: &DynamicImage) -> RgbImage {
    let image = image.to_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, alpha] = image.get_pixel(x, y).0.map(u16::from);
        Rgb([r, g, b].map(|colour| ((colour * alpha + 255 * (255 - alpha)) / 255) as u8))
    })
}

/// RIFF chunks: `VP8X` with flag 0x02, or an `ANIM` or `ANMF`.
fn is_animated_webp(source: &mut dyn Source) -> bool {
    let mut at = 12_u64;
    for _ in 0..64 {
        let mut header = [0; 9];
        let Ok([a, b, c, d, length @ .., flags]) =
            read_at(source, at, &mut header).map(|read| <[u8; 9]>::try_from(read).unwrap_or_default())
        else {
            return false;
        };
        match &[a, b, c, d] {
            b"VP8X" if flags & 0x02 != 0 => return true,
            b"ANIM" | b"ANMF" => return true,
            b"VP8X" | b"VP8 " | b"VP8L" | b"ALPH" | b"ICCP" | b"EXIF" | b"XMP " => {}
            _ => return false,
        }
        let length = u64::from(u32::from_le_bytes(length));
        at += 8 + length + length % 2;
    }
    false
}

/// Whether a second image follows the first. Reads forward, so that each byte is visited once.
fn is_animated_gif(source: &mut dyn Source) -> bool {
    if source.seek(SeekFrom::Start(0)).is_err() {
        return false;
    }
    let mut reader = BufReader::new(source).take(MediaType::Image.max_bytes());
    second_image(&mut reader).unwrap_or(false)
}

fn second_image(reader: &mut impl Read) -> io::Result<bool> {
    let table = |flags: u8| if flags & 0x80 != 0 { 3_u64 << ((flags & 7) + 1) } else { 0 };
    let [.., flags, _, _] = bytes::<13>(reader)?;
    skip(reader, table(flags))?;
    let mut images = 0;
    loop {
        match bytes::<1>(reader)? {
            [0x21] => skip(reader, 1)?,
            [0x2c] if images == 1 => return Ok(true),
            [0x2c] => {
                images += 1;
                let [.., flags] = bytes::<9>(reader)?;
                skip(reader, table(flags) + 1)?;
            }
            _ => return Ok(false),
        }
        // Sub-blocks, up to an empty one.
        loop {
            match bytes::<1>(reader)? {
                [0] => break,
                [length] => skip(reader, length.into())?,
            }
        }
    }
}

fn bytes<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn skip(reader: &mut impl Read, length: u64) -> io::Result<()> {
    io::copy(&mut reader.take(length), &mut io::sink()).map(drop)
}
