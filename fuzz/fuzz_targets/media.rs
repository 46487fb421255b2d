//! Media files as strangers send them: blobs of the CDN, and files to be sent.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wazap::crypto::media::fuzz_media_crypto(data);
    wazap::media::fuzz_media(data);
});
