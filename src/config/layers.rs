//! Where a value comes from: flag, else environment variable, else file, else default. The first found wins.

use std::{fmt, path::Path};

use super::{Settings, settings::VARIABLES, value::Allowed};

/// Used without `--config`, if it exists.
const FILE: &str = "./wazap.toml";

/// Who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Flag,
    Environment,
    /// The file, as it was named.
    File(String),
    Default,
}

/// A wrong value; its one line names the setting, the value's source and what is allowed. Values are not repeated: some
/// are secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("setting {name} ({source}) is wrong: allowed is {allowed}", source = Named(name, from))]
    Value { name: &'static str, from: Source, allowed: String },
    #[error("setting config ({source}) is wrong: {path} {problem}; allowed is a TOML file", source = Named("config", from))]
    File { path: String, from: Source, problem: String },
    #[error("settings db-key and db-key-file are both set; allowed is one of them")]
    TwoKeys,
    #[error("setting {name} (file {path}) is unknown; allowed are {}", VARIABLES[1..].join(", "))]
    Unknown { name: String, path: String },
}

/// A source in words.
struct Named<'a>(&'a str, &'a Source);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Source::Flag => write!(f, "flag --{}", self.0),
            Source::Environment => write!(f, "environment variable {}", variable(self.0)),
            Source::File(path) => write!(f, "file {path}"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// The environment variable of a setting.
pub(super) fn variable(name: &str) -> String {
    format!("WAZAP_{}", name.replace('-', "_").to_ascii_uppercase())
}

/// Looks up an environment variable by name.
type Environment<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// All places where a value may stand.
pub struct Layers<'a> {
    flags: &'a Settings,
    environment: Environment<'a>,
    file: Option<(String, toml::Table)>,
}

impl<'a> Layers<'a> {
    /// Reads the file, if there is one. An empty environment variable counts as not set, as container tools write it.
    ///
    /// # Errors
    /// A file that is named but missing, is not TOML, or holds an unknown name.
    pub fn new(
        flags: &'a Settings,
        environment: impl Fn(&str) -> Option<String> + 'a,
    ) -> Result<Self, ConfigError> {
        let mut layers = Self { flags, environment: Box::new(environment), file: None };
        let (path, from) = layers.find("config").unwrap_or((FILE.to_owned(), Source::Default));
        if from == Source::Default && !Path::new(&path).exists() {
            return Ok(layers);
        }
        let fault = |problem: String| ConfigError::File { path: path.clone(), from: from.clone(), problem };
        let text =
            std::fs::read_to_string(&path).map_err(|e| fault(format!("cannot be read ({})", e.kind())))?;
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let line =
                e.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            fault(format!("is not TOML (line {line})"))
        })?;
        if let Some(name) = table.keys().find(|name| !VARIABLES[1..].contains(&name.as_str())) {
            return Err(ConfigError::Unknown { name: name.clone(), path });
        }
        layers.file = Some((path, table));
        Ok(layers)
    }

    /// The value as text, and who said so.
    fn find(&self, name: &str) -> Option<(String, Source)> {
        if let Some(flag) = self.flags.flag(name) {
            return Some((flag.to_owned(), Source::Flag));
        }
        if let Some(text) = (self.environment)(&variable(name)).filter(|text| !text.is_empty()) {
            return Some((text, Source::Environment));
        }
        let (path, table) = self.file.as_ref()?;
        let text = match table.get(name)? {
            toml::Value::String(text) => text.clone(),
            // Numbers may stand without quotes; what does not fit is refused by the setting's own reader.
            toml::Value::Integer(number) => number.to_string(),
            // No setting takes the empty text.
            _ => String::new(),
        };
        Some((text, Source::File(path.clone())))
    }

    /// A setting without a default.
    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, Allowed>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((text, from)) = self.find(name) else { return Ok(None) };
        read(&text).map(Some).map_err(|Allowed(allowed)| ConfigError::Value { name, from, allowed })
    }

    /// A setting with one.
    pub(super) fn required<T>(
        &self,
        name: &'static str,
        default: &str,
        read: impl FnOnce(&str) -> Result<T, Allowed>,
    ) -> Result<T, ConfigError> {
        let (text, from) = self.find(name).unwrap_or_else(|| (default.to_owned(), Source::Default));
        read(&text).map_err(|Allowed(allowed)| ConfigError::Value { name, from, allowed })
    }
}
