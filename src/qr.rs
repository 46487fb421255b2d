//! A pairing code as a picture: PNG, SVG, data URI, terminal blocks. Pure; knows nothing of pairing.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code; the QR standard (ISO/IEC 18004) asks for four.
const MARGIN: usize = 4;
/// Pixels a module in the PNG: a code of 69 modules becomes a picture of about 600 pixels.
const SCALE: usize = 8;

/// The text does not fit into any QR code (it holds some 2,900 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is too long for a QR code")]
pub struct TooLong;

/// A drawn code.
pub struct Picture {
    width: usize,
    dark: Vec<bool>,
}

impl Picture {
    /// Draws `text`. Screens neither tear nor stain: the lowest level of error correction gives the largest modules.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn of(text: &str) -> Result<Self, TooLong> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| TooLong)?;
        let width = code.width();
        Ok(Self { width, dark: code.into_colors().into_iter().map(|color| color == Color::Dark).collect() })
    }

    /// Modules a side, margin included.
    fn side(&self) -> usize {
        self.width + 2 * MARGIN
    }

    /// Whether the module is dark; the margin is light.
    fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = |at: usize| at.checked_sub(MARGIN).filter(|&at| at < self.width);
        match (inside(x), inside(y)) {
            (Some(x), Some(y)) => self.dark.get(y * self.width + x).copied().unwrap_or(false),
            _ => false,
        }
    }

    /// A black and white PNG.
    pub fn png(&self) -> Vec<u8> {
        let side = self.side() * SCALE;
        let stride = side.div_ceil(8);
        let mut rows = Vec::with_capacity(stride * side);
        for y in 0..side {
            let mut row = vec![0_u8; stride];
            for x in (0..side).filter(|x| !self.is_dark(x / SCALE, y / SCALE)) {
                if let Some(byte) = row.get_mut(x / 8) {
                    *byte |= 0x80 >> (x % 8);
                }
            }
            rows.extend(row);
        }
        let pixels = u32::try_from(side).unwrap_or(u32::MAX);
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, pixels, pixels);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        // Writing into memory fails for no reason but a bug in the sizes above.
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&rows));
        debug_assert!(written.is_ok(), "{written:?}");
        out
    }

    /// The PNG as `data:image/png;base64,…`.
    pub fn data_uri(&self) -> String {
        format!("data:image/png;base64,{}", STANDARD.encode(self.png()))
    }

    /// A scalable picture, one path.
    pub fn svg(&self) -> String {
        let side = self.side();
        let mut path = String::new();
        for y in 0..side {
            let mut x = 0;
            while x < side {
                let run = (x..side).take_while(|&x| self.is_dark(x, y)).count();
                if run > 0 {
                    let _ = write!(path, "M{x} {y}h{run}v1h-{run}z");
                }
                x += run.max(1);
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\"{path}\"/></svg>"
        )
    }

    /// Blocks for a terminal, two modules a character, dark on light whatever the terminal's colours are.
    pub fn blocks(&self) -> String {
        let side = self.side();
        // Two light modules of margin are enough here and keep the code within 80 columns.
        let shown = MARGIN - 2..side - (MARGIN - 2);
        let mut out = String::new();
        for y in shown.clone().step_by(2) {
            out.push_str("\x1b[30;107m");
            for x in shown.clone() {
                out.push(match (self.is_dark(x, y), self.is_dark(x, y + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            out.push_str("\x1b[0m\n");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{MARGIN, Picture, SCALE, TooLong};

    #[test]
    fn the_png_holds_the_modules_with_their_margin() {
        let picture = Picture::of("2@abc,def,ghi,jkl").unwrap();
        let bytes = picture.png();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.width as usize, picture.side() * SCALE);
        let light = |x: usize, y: usize| pixels[y * info.line_size + x / 8] & (0x80 >> (x % 8)) != 0;
        for y in 0..picture.side() {
            for x in 0..picture.side() {
                assert_eq!(light(x * SCALE + 3, y * SCALE + 3), !picture.is_dark(x, y), "{x} {y}");
            }
        }
        // The finder pattern stands in the corner, the margin around it is light.
        assert!(picture.is_dark(MARGIN, MARGIN) && !picture.is_dark(MARGIN - 1, MARGIN));
        assert!(picture.data_uri().starts_with("data:image/png;base64,iVBORw0KGgo"));
    }

    #[test]
    fn the_svg_and_the_blocks_draw_as_many_dark_modules() {
        let picture = Picture::of("2@abc").unwrap();
        let dark = picture.dark.iter().filter(|dark| **dark).count();
        let svg = picture.svg();
        let modules = svg.rsplit_once("<path d=").unwrap().1;
        let runs = modules.split('h').skip(1).filter_map(|run| run.split('v').next()?.parse::<usize>().ok());
        assert_eq!(runs.sum::<usize>(), dark);
        let blocks: usize = picture
            .blocks()
            .chars()
            .map(|c| match c {
                '█' => 2,
                '▀' | '▄' => 1,
                _ => 0,
            })
            .sum();
        assert_eq!(blocks, dark);
    }

    #[test]
    fn a_text_beyond_the_largest_code_is_an_error() {
        assert_eq!(Picture::of(&"x".repeat(3000)).err(), Some(TooLong));
    }
}
