//! The media server over real loopback, against our own door and against plain requests.

use std::io::Cursor;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::*;
use crate::{
    net::media::{Cdn, CdnError, Upload},
    sandbox::{Options, Sandbox, core::DeviceRef},
    stanza::MediaConn,
};

struct Stand {
    sandbox: Sandbox,
    http: reqwest::Client,
    auth: String,
    hosts: Vec<String>,
}

impl Stand {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let phone = sandbox.admin().create_phone(None, None, None).unwrap();
        let conn = sandbox.shared.input(|world, now| {
            let account = world.phone(&phone.number).unwrap();
            world.media_conn(DeviceRef { account, device: 0 }, "1", now)
        });
        let conn = MediaConn::parse(&conn).unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { sandbox, http, hosts: conn.in_order(), auth: conn.auth }
    }

    fn cdn(&self) -> Cdn {
        Cdn::new(None, Some(self.sandbox.tls_root_pem().as_bytes()))
            .patience(Duration::from_secs(10), Duration::ZERO)
    }

    fn url(&self, target: &str) -> String {
        format!("{}{target}", self.sandbox.http_url())
    }

    /// The target of an upload, with the token written like this.
    fn target(&self, token: &str, more: &str) -> String {
        format!("/mms/image/{token}?auth={}&token={token}{more}", self.auth)
    }

    async fn post(&self, target: &str, body: Vec<u8>) -> (u16, Value) {
        let answer = self.http.post(self.url(target)).body(body).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    async fn get(&self, target: &str) -> (u16, Vec<u8>) {
        let answer = self.http.get(self.url(target)).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    async fn upload(&self, blob: &[u8]) -> Result<String, CdnError> {
        let upload = Upload {
            auth: &self.auth,
            path: "/mms/image",
            sha256: Sha256::digest(blob).into(),
            length: blob.len() as u64,
        };
        let uploaded = self.cdn().upload(&self.hosts, &upload, &mut Cursor::new(blob)).await?;
        assert_eq!(uploaded.url, format!("https://{}{}&mms3=true", self.hosts[0], uploaded.direct_path));
        Ok(uploaded.direct_path)
    }

    async fn download(&self, path: &str) -> Result<Vec<u8>, CdnError> {
        let mut bytes = Vec::new();
        self.cdn().download(&self.hosts, path, 0, None, MAX_BLOB).save(&mut bytes).await?;
        Ok(bytes)
    }

    fn fault(&self, faults: &Value) {
        self.sandbox.admin().set_faults(faults).unwrap();
    }

    fn fired(&self, fault: &str) -> u64 {
        self.sandbox.admin().faults()[fault].fired
    }
}

fn blob(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

fn token(blob: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(blob))
}

#[tokio::test]
async fn what_goes_up_comes_down_under_one_path() {
    let stand = Stand::start().await;
    for length in [26, 100_000, 6 << 20] {
        let blob = blob(length);
        let path = stand.upload(&blob).await.unwrap();
        assert_eq!(stand.upload(&blob).await.unwrap(), path);
        assert!(stand.download(&path).await.unwrap() == blob);
    }
    stand.sandbox.shutdown().await;
}

#[tokio::test]
async fn every_way_to_write_a_token_is_taken_and_a_wrong_one_is_not() {
    let stand = Stand::start().await;
    let blob = blob(1000);
    let web = token(&blob);
    let standard = web.replace('-', "%2B").replace('_', "%2F");
    for form in [web.clone(), format!("{web}="), format!("{web}%3D"), standard] {
        let (status, answer) = stand.post(&stand.target(&form, ""), blob.clone()).await;
        assert_eq!(status, 200, "{form}");
        assert!(answer["direct_path"].as_str().unwrap().starts_with("/v/t62.7118-24/"));
    }
    let other = token(b"other");
    let no_query = format!("/mms/image/{other}?auth={}", stand.auth);
    let two_tokens = format!("/mms/image/{web}?auth={}&token={other}", stand.auth);
    for (target, status, error) in [
        (no_query.as_str(), 400, "hash"),
        (two_tokens.as_str(), 400, "token"),
        (&stand.target("abc", ""), 400, "token"),
        (&format!("/mms/image/{web}?token={web}"), 403, "auth"),
        (&format!("/mms/image/{web}?auth=x&token={web}"), 403, "auth"),
        (&stand.target(&other, "&file_offset=1"), 400, "file_offset"),
        (&stand.target(&other, "&file_offset=x"), 400, "file_offset"),
    ] {
        assert_eq!(stand.post(target, blob.clone()).await, (status, json!({"error": error})), "{target}");
    }
    assert_eq!(stand.post(&stand.target(&other, "&resume=1"), vec![]).await.1, json!({"resume": "0"}));
    for path in ["/newsletter/newsletter-image", "/product/image", "/pps/biz-cover-photo", "/mms/md-msg-hist"]
    {
        let target = format!("{path}/{web}?auth={}", stand.auth);
        assert_eq!(stand.post(&target, blob.clone()).await.0, 200, "{path}");
    }
    stand.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_broken_upload_leaves_its_beginning() {
    let stand = Stand::start().await;
    let whole = blob(6 << 20);
    let token = token(&whole);
    let mut stream = TcpStream::connect(&stand.hosts[0]).await.unwrap();
    let target = stand.target(&token, "");
    let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", whole.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&whole[..1_000_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    let hash = hash_of(&token).unwrap();
    let kept = async {
        while stand.sandbox.shared.blobs.part(&hash) != 1_000_000 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), kept).await.unwrap();
    let known = stand.post(&stand.target(&token, "&resume=1"), vec![]).await.1;
    assert_eq!(known, json!({"resume": "1000000"}));
    // A rest that does not fit is refused, and what was there is no beginning any more.
    let wrong = stand.post(&stand.target(&token, "&file_offset=1000000"), vec![7; 100]).await;
    assert_eq!(wrong, (400, json!({"error": "hash"})));
    assert_eq!(stand.sandbox.shared.blobs.part(&hash), 0);
    assert!(stand.upload(&whole).await.is_ok());
    let known = stand.post(&stand.target(&token, "&resume=1"), vec![]).await.1;
    assert_eq!(known["resume"], "complete");
    assert!(known["direct_path"].is_string() && known["url"].is_string());
    stand.sandbox.shutdown().await;
}

#[tokio::test]
async fn downloads_know_ranges_heads_and_what_is_gone() {
    let stand = Stand::start().await;
    let whole = blob(1000);
    let path = stand.upload(&whole).await.unwrap();
    for form in
        [path.clone(), format!("{path}&hash=x&mms-type=image&__wa-mms="), format!("{path}?auth=a&token=b")]
    {
        assert_eq!(stand.get(&form).await, (200, whole.clone()));
    }
    let part = stand.http.get(stand.url(&path)).header("range", "bytes=990-1999").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 990-999/1000");
    assert_eq!(part.bytes().await.unwrap(), whole[990..]);
    let none = stand.http.get(stand.url(&path)).header("range", "bytes=1000-").send().await.unwrap();
    assert_eq!(
        (none.status().as_u16(), &none.headers()["content-range"]),
        (416, &"bytes */1000".parse().unwrap())
    );
    let head = stand.http.head(stand.url(&path)).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"1000".parse().unwrap()));
    assert_eq!(head.headers()["accept-ranges"], "bytes");

    let unknown = path.replace("/v/t62.7118-24/", "/v/t62.7118-24/00");
    assert_eq!(stand.get(&unknown).await.0, 404);
    assert_eq!(stand.get("/v/x/../../etc/passwd").await.0, 404);
    // A client is done with it: this path is gone, another upload of the same blob is not.
    let plain = path.split('?').next().unwrap();
    let forget = format!("/mms/md-msg-hist/x?auth={}&d_md={}", stand.auth, URL_SAFE_NO_PAD.encode(plain));
    let answer = stand.http.delete(stand.url(&forget)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(stand.download(&path).await, Err(CdnError::Gone(410)));
    assert_eq!(stand.download(&path.replace("_1.enc", "_2.enc")).await, Ok(whole));
    let answer = stand.http.delete(stand.url("/mms/md-msg-hist/x?auth=wrong")).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    stand.sandbox.shutdown().await;
}

#[tokio::test]
async fn faults_refuse_delay_and_cut() {
    let stand = Stand::start().await;
    let small = blob(1000);
    let path = stand.upload(&small).await.unwrap();
    for (status, expected) in
        [(403, CdnError::Refused(403)), (404, CdnError::Gone(404)), (410, CdnError::Gone(410))]
    {
        stand.fault(&json!({"cdn": {"status": status, "times": 1}}));
        assert_eq!(stand.download(&path).await, Err(expected));
        assert_eq!(stand.download(&path).await.as_ref(), Ok(&small));
    }
    stand.fault(&json!({"cdn": {"status": 503, "times": 2}}));
    assert_eq!(stand.download(&path).await.as_ref(), Ok(&small));
    stand.fault(&json!({"cdn": {"status": 503, "times": 1}}));
    assert_eq!(stand.upload(&small).await, Ok(path.clone()));
    assert_eq!(stand.fired("cdn"), 1);

    // Half of it, and half of the rest; the door goes on each time.
    stand.fault(&json!({"cdn_cut": {"times": 2}}));
    assert_eq!(stand.download(&path).await.as_ref(), Ok(&small));
    assert_eq!(stand.fired("cdn_cut"), 2);
    let large = blob(7 << 20);
    stand.fault(&json!({"cdn_cut": {"times": 2}}));
    let path = stand.upload(&large).await.unwrap();
    stand.fault(&json!({"cdn_delay": {"ms": 50}}));
    assert!(stand.download(&path).await.unwrap() == large);
    let hasty = stand.cdn().patience(Duration::from_millis(5), Duration::ZERO);
    let slow = hasty.download(&stand.hosts, &path, 0, None, MAX_BLOB).chunk().await;
    assert_eq!(slow, Err(CdnError::Timeout));
    stand.sandbox.shutdown().await;
}

#[test]
fn tokens_are_read_in_every_alphabet() {
    let hash: Hash = std::array::from_fn(|n| 255 - u8::try_from(n).unwrap());
    let standard = STANDARD_NO_PAD.encode(hash);
    assert!(standard.contains(['+', '/']));
    let web = standard.replace('+', "-").replace('/', "_");
    for token in
        [standard.clone(), format!("{standard}="), web.clone(), format!("{web}="), standard.replace('+', " ")]
    {
        assert_eq!(hash_of(&token), Some(hash), "{token}");
    }
    for token in ["", "abc", &web[1..], &format!("{web}AA"), "§"] {
        assert_eq!(hash_of(token), None, "{token}");
    }
}

#[test]
fn ranges_are_those_of_http() {
    for (range, expected) in [
        ("bytes=0-9", Wanted::Part(0, 10)),
        ("bytes=90-", Wanted::Part(90, 100)),
        ("bytes=90-1000", Wanted::Part(90, 100)),
        ("bytes=-10", Wanted::Part(90, 100)),
        ("bytes=-1000", Wanted::Part(0, 100)),
        ("bytes=99-99", Wanted::Part(99, 100)),
        ("bytes=100-", Wanted::Nothing),
        ("bytes=-0", Wanted::Nothing),
        ("bytes=9-8", Wanted::Whole),
        ("bytes=0-1,4-5", Wanted::Whole),
        ("bytes=a-b", Wanted::Whole),
        ("lines=0-9", Wanted::Whole),
    ] {
        assert_eq!(Wanted::read(range, 100), expected, "{range}");
    }
    assert_eq!(Wanted::read("bytes=0-", 0), Wanted::Nothing);
}
