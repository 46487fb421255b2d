//! The flags of `run`, as clap sees them: names and help. What is allowed stands in `value`.

/// What may be set, each as given on the command line. Doc comments are the help texts.
#[derive(clap::Args, Clone, Default)]
pub struct Settings {
    /// File with settings, one `name = value` a line, the names as the flags [default: ./wazap.toml if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// Folder of everything the instance keeps [default: ./data, with --sandbox ./data/sandbox]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Address of the instance API, IP:PORT; port 0 picks a free one [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Base of the absolute links in webhooks [default: http:// and the address listened on]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// The instance's UUID [default: made at the first start, kept in the database]
    #[arg(long, value_name = "UUID")]
    pub instance_id: Option<String>,
    /// The platform: events are posted to URL/webhooks/instance/{uuid}/… [default: none]
    #[arg(long, value_name = "URL")]
    pub platform_url: Option<String>,
    /// Key of the HMAC-SHA256 signature on posts to the platform [default: none, unsigned]
    #[arg(long, value_name = "TEXT")]
    pub platform_secret: Option<String>,
    /// A token to accept besides those in the database, sk_… [default: none; one is made at the first start]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// The WhatsApp server, wss:// or ws:// [default: wss://web.whatsapp.com/ws/chat]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// PEM file of a further TLS root to trust [default: the system's and the bundled roots]
    #[arg(long, value_name = "FILE")]
    pub server_ca: Option<String>,
    /// Public key that must have signed the server's Noise certificate, 64 hex digits [default: WhatsApp's own]
    #[arg(long, value_name = "HEX")]
    pub server_root_key: Option<String>,
    /// Link by a code typed on the phone of this number, instead of a QR code [default: none]
    #[arg(long, value_name = "NUMBER")]
    pub pair_phone: Option<String>,
    /// socks5://, http:// or https:// proxy for the WhatsApp socket, not for webhooks [default: none]
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// What the phone shows under linked devices, 1 to 50 characters [default: wazap]
    #[arg(long, value_name = "TEXT")]
    pub device_name: Option<String>,
    /// WhatsApp Web version announced; auto is the built-in 2.3000.1043857760 [default: auto]
    #[arg(long, value_name = "auto|X.Y.Z")]
    pub wa_version: Option<String>,
    /// Whether the instance shows itself online; unavailable keeps notifications on the phone [default: unavailable]
    #[arg(long, value_name = "unavailable|available")]
    pub presence: Option<String>,
    /// Reject incoming calls; with a text, it is sent to who called, once a minute at most [default: off]
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "on")]
    pub reject_calls: Option<String>,
    /// How long the event log is kept; unit s, m, h or d [default: 7d]
    #[arg(long, value_name = "DURATION")]
    pub event_retention: Option<String>,
    /// Rows of the event log kept at most for receivers that are behind [default: 1000000]
    #[arg(long, value_name = "N")]
    pub event_max: Option<String>,
    /// Key that encrypts the database; a file or the variable keeps it out of the list of processes [default: none]
    #[arg(long, value_name = "TEXT")]
    pub db_key: Option<String>,
    /// File with that key, without the line break at its end [default: none]
    #[arg(long, value_name = "FILE")]
    pub db_key_file: Option<String>,
    /// Requests per token and window of seconds; off disables the limit [default: 100/900]
    #[arg(long, value_name = "N/SECONDS")]
    pub rate_limit: Option<String>,
    /// Which files /send-media takes as document: any, or those of listed formats [default: any]
    #[arg(long, value_name = "any|listed")]
    pub documents: Option<String>,
    /// Let media_url point into loopback, private, link-local and other non-public addresses [default: off]
    #[arg(long, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub media_allow_private: Option<String>,
    /// Filter of the log on standard error, e.g. warn or info,wazap=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Form of the log lines [default: text]
    #[arg(long, value_name = "text|json")]
    pub log_format: Option<String>,
}

/// Flag names that an environment variable (`WAZAP_` and the name in capitals) may set too.
pub const VARIABLES: [&str; 26] = [
    "config",
    "data",
    "listen",
    "public-url",
    "instance-id",
    "platform-url",
    "platform-secret",
    "token",
    "server",
    "server-ca",
    "server-root-key",
    "pair-phone",
    "proxy",
    "device-name",
    "wa-version",
    "presence",
    "reject-calls",
    "event-retention",
    "event-max",
    "db-key",
    "db-key-file",
    "rate-limit",
    "documents",
    "media-allow-private",
    "log",
    "log-format",
];

impl Settings {
    /// What the command line said of one setting.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        let field = match name {
            "config" => &self.config,
            "data" => &self.data,
            "listen" => &self.listen,
            "public-url" => &self.public_url,
            "instance-id" => &self.instance_id,
            "platform-url" => &self.platform_url,
            "platform-secret" => &self.platform_secret,
            "token" => &self.token,
            "server" => &self.server,
            "server-ca" => &self.server_ca,
            "server-root-key" => &self.server_root_key,
            "pair-phone" => &self.pair_phone,
            "proxy" => &self.proxy,
            "device-name" => &self.device_name,
            "wa-version" => &self.wa_version,
            "presence" => &self.presence,
            "reject-calls" => &self.reject_calls,
            "event-retention" => &self.event_retention,
            "event-max" => &self.event_max,
            "db-key" => &self.db_key,
            "db-key-file" => &self.db_key_file,
            "rate-limit" => &self.rate_limit,
            "documents" => &self.documents,
            "media-allow-private" => &self.media_allow_private,
            "log" => &self.log,
            "log-format" => &self.log_format,
            _ => return None,
        };
        field.as_deref()
    }
}
