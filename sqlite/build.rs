//! Compiles SQLite with its encryption extension, with what `store` uses and nothing else.

/// On top of SQLite's defaults.
const DEFINES: &[(&str, &str)] = &[
    ("SQLITE_CORE", "1"),
    ("SQLITE_THREADSAFE", "1"),
    ("SQLITE_DEFAULT_FOREIGN_KEYS", "1"),
    ("SQLITE_ENABLE_API_ARMOR", "1"),
    ("SQLITE_ENABLE_FTS5", "1"),
    ("SQLITE_OMIT_LOAD_EXTENSION", "1"),
    // Sorting and the like must not leave plain text in temporary files; a database without a key says otherwise.
    ("SQLITE_TEMP_STORE", "2"),
    ("HAVE_USLEEP", "1"),
    ("HAVE_ISNAN", "1"),
    ("HAVE_LOCALTIME_R", "1"),
    // One cipher: ChaCha20 with Poly1305, a nonce and a tag on each page.
    ("CODEC_TYPE", "CODEC_TYPE_CHACHA20"),
    ("HAVE_CIPHER_CHACHA20", "1"),
    ("HAVE_CIPHER_AES_128_CBC", "0"),
    ("HAVE_CIPHER_AES_256_CBC", "0"),
    ("HAVE_CIPHER_SQLCIPHER", "0"),
    ("HAVE_CIPHER_RC4", "0"),
    ("HAVE_CIPHER_ASCON128", "0"),
    ("HAVE_CIPHER_AEGIS", "0"),
];

fn main() {
    let sources = sqlite3mc_src::source_dir();
    let mut build = cc::Build::new();
    build.file(sources.join(sqlite3mc_src::SOURCE_FILE)).include(sources).warnings(false);
    for (name, value) in DEFINES {
        build.define(name, *value);
    }
    build.compile("sqlite3");
    println!("cargo:rerun-if-changed=build.rs");
}
