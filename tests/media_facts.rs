//! What is told of a file before it is sent. The files are made here, but for voice notes, which libopus made.

#![allow(clippy::unwrap_used)]

use std::{io::Cursor, time::Duration};

use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use proptest::prelude::*;
use wazap::media::{Detected, Documents, Facts, Format, MediaType, Unsupported, detect, facts, fuzz_media};

fn detected(bytes: &[u8], announced: Option<&str>, name: Option<&str>) -> Detected {
    detect(&mut Cursor::new(bytes), announced, name).unwrap()
}

fn by_content(bytes: &[u8]) -> Option<Format> {
    detected(bytes, None, None).format()
}

fn facts_of(bytes: &[u8]) -> Facts {
    facts(&mut Cursor::new(bytes), by_content(bytes).expect("a listed format"))
}

/// A picture in which neither edges nor noise make the thumbnail easy.
fn picture(width: u32, height: u32) -> DynamicImage {
    RgbaImage::from_fn(width, height, |x, y| {
        Rgba([(x * 7 % 256) as u8, (y * 5 % 256) as u8, (x * y % 256) as u8, 255])
    })
    .into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image: DynamicImage =
        if format == ImageFormat::Jpeg { image.to_rgb8().into() } else { image.clone() };
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn size_of_jpeg(bytes: &[u8]) -> (u32, u32) {
    let image = image::load_from_memory_with_format(bytes, ImageFormat::Jpeg).unwrap();
    (image.width(), image.height())
}

#[test]
fn an_image_has_dimensions_and_a_small_picture_of_itself() {
    for (format, expected) in [
        (ImageFormat::Jpeg, Format::Jpeg),
        (ImageFormat::Png, Format::Png),
        (ImageFormat::Gif, Format::Gif),
        (ImageFormat::WebP, Format::Webp),
    ] {
        let bytes = encoded(&picture(320, 200), format);
        assert_eq!(by_content(&bytes), Some(expected));
        let facts = facts_of(&bytes);
        assert_eq!((facts.width, facts.height), (Some(320), Some(200)), "{expected:?}");
        assert!(!facts.animated);
        let thumbnail = facts.thumbnail.unwrap();
        assert!(thumbnail.len() <= 4096);
        assert_eq!(size_of_jpeg(&thumbnail), (72, 45), "{expected:?}");
    }
}

#[test]
fn thumbnails_keep_proportions_at_the_extremes_and_small_images_their_size() {
    for (image, thumbnail) in
        [((3000, 2), (72, 1)), ((2, 3000), (1, 72)), ((20, 10), (20, 10)), ((1, 1), (1, 1))]
    {
        let facts = facts_of(&encoded(&picture(image.0, image.1), ImageFormat::Png));
        assert_eq!((facts.width, facts.height), (Some(image.0), Some(image.1)));
        assert_eq!(size_of_jpeg(&facts.thumbnail.unwrap()), thumbnail);
    }
}

#[test]
fn noise_that_compresses_badly_still_gives_a_thumbnail_within_its_limit() {
    let mut state = 1_u32;
    let image = RgbaImage::from_fn(72, 72, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, r, g, b] = state.to_le_bytes();
        Rgba([r, g, b, 255])
    });
    let thumbnail = facts_of(&encoded(&image.into(), ImageFormat::Png)).thumbnail.unwrap();
    assert!(thumbnail.len() <= 4096);
}

#[test]
fn transparency_is_white_and_a_turned_photo_is_shown_upright() {
    let clear = RgbaImage::from_pixel(80, 80, Rgba([0, 0, 0, 0]));
    let thumbnail = facts_of(&encoded(&clear.into(), ImageFormat::Png)).thumbnail.unwrap();
    let shown = image::load_from_memory(&thumbnail).unwrap().to_rgb8();
    assert!(shown.pixels().all(|pixel| pixel.0.iter().all(|colour| *colour > 250)));

    // Exif orientation 6: the camera was held upright.
    let mut exif = b"Exif\0\0II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    let plain = encoded(&picture(100, 50), ImageFormat::Jpeg);
    let mut turned = vec![0xff, 0xd8, 0xff, 0xe1, 0, exif.len() as u8 + 2];
    turned.append(&mut exif);
    turned.extend(&plain[2..]);
    let facts = facts_of(&turned);
    assert_eq!((facts.width, facts.height), (Some(50), Some(100)));
    assert_eq!(size_of_jpeg(&facts.thumbnail.unwrap()), (36, 72));
}

#[test]
fn a_picture_larger_than_memory_has_dimensions_and_no_thumbnail() {
    let mut bomb = encoded(&picture(8, 8), ImageFormat::Png);
    bomb[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    let facts = facts_of(&bomb);
    assert_eq!((facts.width, facts.height, facts.thumbnail), (Some(60_000), Some(60_000), None));
    let facts = facts_of(&encoded(&picture(50, 50), ImageFormat::Jpeg)[..300]);
    assert_eq!(facts.width.is_some(), facts.height.is_some(), "a cut image does no harm");
}

#[test]
fn moving_pictures_are_told_from_still_ones() {
    let mut two = Vec::new();
    {
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut two);
        for shade in [10, 200] {
            let frame = RgbaImage::from_pixel(9, 9, Rgba([shade, 0, 0, 255]));
            encoder.encode_frame(image::Frame::new(frame)).unwrap();
        }
    }
    assert!(facts_of(&two).animated);

    let still = encoded(&picture(9, 9), ImageFormat::WebP);
    assert!(!facts_of(&still).animated);
    let riff = |chunks: &[u8]| {
        let mut file = b"RIFF".to_vec();
        file.extend((chunks.len() as u32 + 4).to_le_bytes());
        file.extend(b"WEBP");
        file.extend(chunks);
        file
    };
    assert!(facts_of(&riff(b"VP8X\x0a\0\0\0\x02\0\0\0\x08\0\0\x08\0\0")).animated, "by its flag");
    let by_frame = b"VP8X\x0a\0\0\0\x00\0\0\0\x08\0\0\x08\0\0ANIM\x06\0\0\0\0\0\0\0\0\0";
    assert!(facts_of(&riff(by_frame)).animated, "by its frames");
}

fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes(), &kind[..], body].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

const UPRIGHT: [u32; 9] = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000];
const TURNED: [u32; 9] = [0, 0x10000, 0, 0xffff_0000, 0, 0, 0, 0, 0x4000_0000];

fn track(handler: &[u8; 4], matrix: [u32; 9], width: u32, height: u32) -> Vec<u8> {
    let tkhd =
        [words(&[7, 0, 0, 1, 0, 12_345, 0, 0, 0, 0]), words(&matrix), words(&[width << 16, height << 16])];
    let mdhd = words(&[0, 0, 0, 48_000, 600_000, 0]);
    let hdlr = [&words(&[0, 0])[..], handler, &[0; 13]].concat();
    let mdia = [boxed(b"mdhd", &mdhd), boxed(b"hdlr", &hdlr)].concat();
    boxed(b"trak", &[boxed(b"tkhd", &tkhd.concat()), boxed(b"mdia", &mdia)].concat())
}

fn movie(brand: &[u8; 4], length: u32, tracks: &[Vec<u8>]) -> Vec<u8> {
    let mut mvhd = words(&[0, 0, 0, 1000, length]);
    mvhd.resize(100, 0);
    let moov = boxed(b"moov", &[boxed(b"mvhd", &mvhd), tracks.concat()].concat());
    let ftyp = boxed(b"ftyp", &[&brand[..], &[0, 0, 2, 0], b"isom"].concat());
    [ftyp, boxed(b"free", &[0; 30]), boxed(b"mdat", &[9; 5000]), moov].concat()
}

#[test]
fn a_video_has_dimensions_as_shown_and_a_duration() {
    let sound = || track(b"soun", UPRIGHT, 0, 0);
    for (brand, format) in [
        (b"isom", Format::Mp4),
        (b"mp42", Format::Mp4),
        (b"3gp5", Format::ThreeGp),
        (b"qt  ", Format::Mov),
        (b"none", Format::Mp4),
    ] {
        let file = movie(brand, 12_345, &[sound(), track(b"vide", UPRIGHT, 1280, 720)]);
        assert_eq!(by_content(&file), Some(format));
        let facts = facts_of(&file);
        assert_eq!((facts.width, facts.height), (Some(1280), Some(720)));
        assert_eq!((facts.duration, facts.seconds()), (Some(Duration::from_millis(12_345)), Some(12)));
    }
    let turned = facts_of(&movie(b"isom", 500, &[track(b"vide", TURNED, 1920, 1080)]));
    assert_eq!((turned.width, turned.height, turned.seconds()), (Some(1080), Some(1920), Some(0)));

    // Length in no header of the file, but in that of its track: 600 000 of 48 000 a second.
    let facts = facts_of(&movie(b"isom", 0, &[track(b"vide", UPRIGHT, 16, 16)]));
    assert_eq!(facts.duration, Some(Duration::from_millis(12_500)));

    // QuickTime before brands.
    let old = movie(b"qt  ", 1000, &[track(b"vide", UPRIGHT, 16, 16)])[20..].to_vec();
    assert_eq!(by_content(&old), Some(Format::Mov));
    assert_eq!(facts_of(&old).seconds(), Some(1));
}

#[test]
fn boxes_with_sound_alone_are_audio_whatever_their_brand() {
    for brand in [b"M4A ", b"isom", b"mp42", b"3gp4"] {
        let file = movie(brand, 61_900, &[track(b"soun", UPRIGHT, 0, 0)]);
        assert_eq!(by_content(&file), Some(Format::M4a));
        let facts = facts_of(&file);
        assert_eq!((facts.seconds(), facts.width), (Some(61), None));
    }
    // A still image in the same boxes is none of ours.
    let heic = boxed(b"ftyp", b"heic\0\0\0\0mif1heic");
    assert_eq!(by_content(&heic), None);
    assert!(detected(&heic, Some("image/jpeg"), Some("x.jpg")).format().is_none());
}

#[test]
fn boxes_that_contain_themselves_or_lie_end() {
    // Size 0 and 1, sizes beyond the file, a hundred thousand empty boxes.
    let mut empty = boxed(b"ftyp", b"isom\0\0\0\0");
    (0..100_000).for_each(|_| empty.extend(boxed(b"free", &[])));
    assert_eq!(facts_of(&empty).duration, None);
    for size in [0_u32, 1, 2, 7, 9, u32::MAX] {
        let mut file = movie(b"isom", 1000, &[track(b"vide", UPRIGHT, 16, 16)]);
        let moov = file.windows(4).position(|window| window == b"moov").unwrap() - 4;
        file[moov..moov + 4].copy_from_slice(&size.to_be_bytes());
        facts_of(&file);
        file[moov + 8..moov + 12].copy_from_slice(&size.to_be_bytes());
        facts_of(&file);
    }
}

#[test]
fn a_voice_note_is_heard_as_libopus_hears_it() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("vectors/media/voice.json")).unwrap();
    let files: [&[u8]; 2] =
        [include_bytes!("vectors/media/speech.opus"), include_bytes!("vectors/media/music.opus")];
    for (file, expected) in files.into_iter().zip(vectors["files"].as_array().unwrap()) {
        assert_eq!(by_content(file), Some(Format::Opus));
        let facts = facts_of(file);
        let samples = expected["samples"].as_u64().unwrap();
        assert_eq!(facts.duration, Some(Duration::from_millis(samples * 1000 / 48_000)), "{expected}");
        let waveform = facts.waveform.unwrap();
        let heard =
            expected["waveform"].as_array().unwrap().iter().map(|loudness| loudness.as_u64().unwrap());
        for (index, (ours, theirs)) in waveform.into_iter().zip(heard).enumerate() {
            assert!(u64::from(ours).abs_diff(theirs) <= 2, "part {index}: {ours}, libopus {theirs}");
        }
        assert_eq!(waveform.iter().max(), Some(&100));
    }
}

/// Pages of one packet each, all of the same Opus frames.
fn ogg(packets: usize, packet: &[u8], granule: impl Fn(usize) -> u64) -> Vec<u8> {
    let mut file = Vec::new();
    let mut page = |granule: u64, packet: &[u8]| {
        file.extend(b"OggS\0\0");
        file.extend(granule.to_le_bytes());
        file.extend([7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, packet.len() as u8]);
        file.extend(packet);
    };
    page(0, b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0");
    page(0, b"OpusTags\0\0\0\0\0\0\0\0");
    (0..packets).for_each(|index| page(granule(index), packet));
    file
}

#[test]
fn the_length_of_a_voice_note_is_what_its_pages_say_unless_they_cannot_be_right() {
    // 20 ms of CELT in three bytes; 312 samples are skipped.
    let seconds =
        |granule: fn(usize) -> u64| facts_of(&ogg(100, &[0xf8, 0xff, 0xfe], granule)).duration.unwrap();
    let exact = seconds(|index| 312 + 960 * (index as u64 + 1) - 480);
    assert_eq!(exact, Duration::from_millis(1990));
    for granule in [|_| 0, |_| u64::MAX, |_| u64::MAX - 1, |_| 1 << 40] {
        assert_eq!(seconds(granule), Duration::from_millis((96_000 - 312) * 1000 / 48_000));
    }
    let silent = facts_of(&ogg(100, &[0xf8, 0xff, 0xfe], |_| 0)).waveform;
    assert_eq!(silent, Some([0; 64]), "silence is all zeros");
    assert_eq!(facts_of(&ogg(0, &[], |_| 0)).waveform, None);
}

#[test]
fn a_voice_note_of_weeks_costs_no_more_than_reading_it() {
    // 120 ms in each packet of two bytes.
    let file = ogg(400_000, &[0x1b, 0x02], |_| 0);
    let facts = facts_of(&file);
    assert_eq!(facts.seconds(), Some(47_999));
    assert_eq!(facts.waveform, None);
}

fn wav(declared: u32, samples: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(8000_u32.to_le_bytes());
    file.extend(16_000_u32.to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"LIST\x03\0\0\0abc\0data");
    file.extend(declared.to_le_bytes());
    file.extend(samples);
    file
}

#[test]
fn plain_audio_has_a_duration() {
    for declared in [40_000, u32::MAX] {
        let file = wav(declared, &[0; 40_000]);
        assert_eq!(by_content(&file), Some(Format::Wav));
        assert_eq!(facts_of(&file).duration, Some(Duration::from_millis(2500)));
    }

    // MPEG 1 layer III, 128 kbit/s, 44.1 kHz: frames of 417 bytes and 1152 samples. Behind a tag with a false frame.
    let mut frame = vec![0xff, 0xfb, 0x90, 0xc0];
    frame.resize(417, 0);
    let frames = frame.repeat(200);
    let tag = [b"ID3\x04\0\0\0\0\x02\0", &[0xff, 0xfb, 0x90, 0xc0][..], &[0; 252]].concat();
    for file in [frames.clone(), [tag, frames].concat()] {
        assert_eq!(by_content(&file), Some(Format::Mp3));
        let seconds = facts_of(&file).duration.unwrap().as_secs_f64();
        assert!((seconds - 200.0 * 1152.0 / 44_100.0).abs() < 0.3, "{seconds}");
    }

    // ADTS: AAC-LC, 44.1 kHz, stereo, frames of 100 bytes and 1024 samples.
    let mut frame = vec![0xff, 0xf1, 0x50, 0x80, 0x0c, 0x9f, 0xfc];
    frame.resize(100, 0x21);
    let file = frame.repeat(100);
    assert_eq!(by_content(&file), Some(Format::Aac));
    let seconds = facts_of(&file).duration.unwrap().as_secs_f64();
    assert!((seconds - 100.0 * 1024.0 / 44_100.0).abs() < 0.3, "{seconds}");
}

/// Stored members without content.
fn zip(names: &[&str]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for name in names {
        let length = (name.len() as u16).to_le_bytes();
        let offset = (file.len() as u32).to_le_bytes();
        file.extend(b"PK\x03\x04\x14\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        file.extend([length[0], length[1], 0, 0]);
        file.extend(name.as_bytes());
        directory.extend(b"PK\x01\x02\x14\0\x14\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        directory.extend([length[0], length[1], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        directory.extend(offset);
        directory.extend(name.as_bytes());
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    let count = (names.len() as u16).to_le_bytes();
    file.extend([count, count].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend(b"\x07\0comment");
    file
}

fn ole(stream: &str) -> Vec<u8> {
    let mut file = vec![0; 512 * 4];
    file[..8].copy_from_slice(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]);
    file[30] = 9;
    file[48] = 2;
    for (index, name) in ["Root Entry", stream].into_iter().enumerate() {
        let entry = 512 * 3 + 128 * index;
        for (at, unit) in name.encode_utf16().enumerate() {
            file[entry + 2 * at..entry + 2 * at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        file[entry + 64] = name.len() as u8 * 2 + 2;
    }
    file
}

#[test]
fn containers_are_told_apart_by_what_is_in_them() {
    let types = "[Content_Types].xml";
    assert_eq!(by_content(&zip(&[types, "_rels/.rels", "word/document.xml"])), Some(Format::Docx));
    assert_eq!(by_content(&zip(&["docProps/app.xml", "xl/workbook.xml", types])), Some(Format::Xlsx));
    assert_eq!(by_content(&zip(&["ppt/presentation.xml", types])), Some(Format::Pptx));
    assert_eq!(by_content(&zip(&["word/readme.txt"])), Some(Format::Zip));
    assert_eq!(by_content(&zip(&["a.txt"])), Some(Format::Zip));
    assert_eq!(by_content(b"PK\x03\x04 and nothing more"), Some(Format::Zip));
    assert_eq!(by_content(&ole("WordDocument")), Some(Format::Doc));
    assert_eq!(by_content(&ole("Workbook")), Some(Format::Xls));
    assert_eq!(by_content(&ole("Book")), Some(Format::Xls));
    assert_eq!(by_content(&ole("PowerPoint Document")), Some(Format::Ppt));
    assert_eq!(by_content(&ole("Mail")), None);
    assert_eq!(by_content(&ole("Mail")[..40]), None);
    let epub = zip(&["mimetype", "META-INF/container.xml"]);
    assert_eq!(detected(&epub, Some("application/epub+zip"), None).mime(), "application/epub+zip");

    assert_eq!(by_content(b"%PDF-1.7\n"), Some(Format::Pdf));
    assert_eq!(by_content(b"RIFF\0\0\0\0AVI LIST"), Some(Format::Avi));
    let mut mkv = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x88matroska".to_vec();
    mkv.resize(300, 0);
    assert_eq!(by_content(&mkv), Some(Format::Mkv));
    assert_eq!(
        by_content(&[b"OggS\0\x02".to_vec(), vec![0; 22], b"\x01vorbis".to_vec()].concat()),
        Some(Format::Ogg)
    );
}

#[test]
fn content_comes_before_the_announced_type_and_that_before_the_name() {
    let png = encoded(&picture(3, 3), ImageFormat::Png);
    assert_eq!(detected(&png, Some("image/jpeg"), Some("x.pdf")).format(), Some(Format::Png));
    let unknown = [0, 1, 2, 3, 0xfe, 5];
    assert_eq!(detected(&unknown, Some("Audio/AAC; x=1"), Some("x.pdf")).format(), Some(Format::Aac));
    assert_eq!(
        detected(&unknown, Some("application/octet-stream"), Some("a/x.PDF")).format(),
        Some(Format::Pdf)
    );
    assert_eq!(detected(&unknown, None, Some("x.doc")).format(), Some(Format::Doc));
    assert_eq!(detected(&unknown, Some("text/html"), Some("x.jpg")).mime(), "text/html");
    assert_eq!(detected(&unknown, None, None), Detected::Other { mime: None });
    assert_eq!(detected(&unknown, Some("text/plain"), Some("x.txt")).mime(), "application/octet-stream");
    assert_eq!(detected(b"", None, None).mime(), "application/octet-stream");

    // An executable is no photo, whatever it is called.
    let mut program = b"MZ\x90\0\x03\0\0\0".to_vec();
    program.resize(200, 0);
    assert_eq!(detected(&program, Some("image/jpeg"), Some("x.jpg")).format(), None);
}

#[test]
fn text_is_plain_unless_it_is_known_to_be_more() {
    let text = "São Paulo;10\nRio;20\n".as_bytes();
    let latin = b"S\xe3o Paulo;10\nRio;20\n";
    for text in [text, latin, b"\xff\xfea\0b\0"] {
        assert_eq!(detected(text, None, None).mime(), "text/plain");
        assert_eq!(detected(text, Some("text/plain; charset=utf-8"), Some("x.csv")).mime(), "text/plain");
        assert_eq!(detected(text, None, Some("x.txt")).mime(), "text/plain");
        assert_eq!(detected(text, Some("text/csv; charset=utf-8"), None).mime(), "text/csv");
        assert_eq!(detected(text, None, Some("x.csv")).mime(), "application/octet-stream");
        assert_eq!(
            detected(text, Some("image/jpeg"), Some("x.jpg")).format(),
            None,
            "an error page is no photo"
        );
    }
    let xml = b"<?xml version=\"1.0\"?><nfeProc/>";
    assert_eq!(detected(xml, Some("application/xml"), Some("nfe.xml")).mime(), "application/xml");
    for odd in ["text", "text/", "a b/c", "text/\u{e9}", "x/y\r\nz: 1"] {
        assert_eq!(detected(xml, Some(odd), Some("x.xml")).mime(), "application/octet-stream", "{odd}");
    }
}

#[test]
fn media_types_take_their_formats_and_documents_take_all() {
    let check = |bytes: &[u8], media_type| detected(bytes, None, None).check(media_type, Documents::Any);
    let png = encoded(&picture(3, 3), ImageFormat::Png);
    assert_eq!(check(&png, MediaType::Image), Ok(()));
    assert_eq!(check(&png, MediaType::Document), Ok(()));
    assert_eq!(check(&png, MediaType::Video), Err(Unsupported(MediaType::Video)));
    assert_eq!(check(b"%PDF-1.7", MediaType::Image), Err(Unsupported(MediaType::Image)));
    let other = detected(&[0, 1, 2], None, None);
    assert_eq!(other.check(MediaType::Document, Documents::Any), Ok(()));
    let refused = Err(Unsupported(MediaType::Document));
    assert_eq!(other.check(MediaType::Document, Documents::Listed), refused);
    assert_eq!(other.check(MediaType::Audio, Documents::Any), Err(Unsupported(MediaType::Audio)));
}

/// One of every kind of file, to be damaged.
fn samples() -> Vec<Vec<u8>> {
    let image = picture(24, 16);
    vec![
        encoded(&image, ImageFormat::Jpeg),
        encoded(&image, ImageFormat::Png),
        encoded(&image, ImageFormat::Gif),
        encoded(&image, ImageFormat::WebP),
        movie(b"isom", 1000, &[track(b"vide", UPRIGHT, 16, 16)]),
        ogg(30, &[0xf8, 0xff, 0xfe], |_| 0),
        include_bytes!("vectors/media/speech.opus").to_vec(),
        wav(100, &[1; 100]),
        [0xff, 0xfb, 0x90, 0xc0].repeat(300),
        zip(&["[Content_Types].xml", "word/document.xml"]),
        ole("Workbook"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_of_every_kind_do_no_harm(
        which in 0_usize..11,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut file = samples().swap_remove(which);
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if !whole {
            file.truncate(cut.index(file.len()));
        }
        fuzz_media(&file);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        fuzz_media(&bytes);
    }

    #[test]
    fn arbitrary_opus_packets_do_no_harm(packet in prop::collection::vec(any::<u8>(), 0..255)) {
        let facts = facts_of(&ogg(8, &packet, |_| 0));
        prop_assert!(facts.waveform.is_none_or(|waveform| waveform.iter().all(|loudness| *loudness <= 100)));
    }
}
