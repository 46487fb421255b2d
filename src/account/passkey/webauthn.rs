//! The two JSON objects of a passkey: what the server asks for, and what an authenticator answers. Members, forms and
//! rules: protocol notes 06, 1.4 and 1.5, after the W3C's Web Authentication.

use std::{fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

/// Credential ids have at most 1,023 bytes (Web Authentication, 4).
const CREDENTIAL_MAX: usize = 1023;
/// Other members have some hundreds of bytes.
const MEMBER_MAX: usize = 8 * 1024;
/// Hash of the relying party's id (32), flags (1), count (4).
const AUTHENTICATOR_DATA_MIN: usize = 37;
/// What a person has time for, where the options do not say (AB property 30661).
const TIMEOUT: Duration = Duration::from_secs(600);
/// Less is no time for a person, more is none for a challenge.
const SHORTEST: Duration = Duration::from_secs(60);

/// base64url; padding is tolerated.
fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// Request options, checked, and as they came.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) text: String,
    pub(super) challenge: Vec<u8>,
    /// How long the challenge is good.
    pub(super) timeout: Duration,
}

impl Options {
    /// Reads the server's JSON; on an error what is wrong with it.
    pub(super) fn parse(text: String) -> Result<Self, &'static str> {
        let Ok(Value::Object(members)) = serde_json::from_str(&text) else { return Err("no JSON object") };
        let challenge = members.get("challenge").and_then(Value::as_str).and_then(decode);
        let challenge = challenge.filter(|challenge| !challenge.is_empty()).ok_or("challenge")?;
        if !matches!(members.get("rpId"), None | Some(Value::String(_))) {
            return Err("rpId");
        }
        match members.get("allowCredentials") {
            None => {}
            // One that is skipped could turn "one of these" into "any".
            Some(Value::Array(all)) if all.iter().all(is_credential) => {}
            Some(_) => return Err("allowCredentials"),
        }
        match members.get("userVerification").map(Value::as_str) {
            None | Some(Some("required" | "preferred" | "discouraged")) => {}
            Some(_) => return Err("userVerification"),
        }
        let timeout = match members.get("timeout") {
            None => TIMEOUT,
            Some(millis) => Duration::from_millis(millis.as_u64().ok_or("timeout")?).clamp(SHORTEST, TIMEOUT),
        };
        Ok(Self { text, challenge, timeout })
    }
}

fn is_credential(entry: &Value) -> bool {
    entry.get("id").and_then(Value::as_str).is_some_and(|id| !id.is_empty())
}

/// What is wrong with one member: its name, and a sentence.
pub type Flaw = (&'static str, String);

/// What an authenticator signed, in the form in which the server wants it.
#[derive(Clone, PartialEq, Eq)]
pub struct Assertion {
    /// The credential's id.
    pub(super) credential: Vec<u8>,
    /// The members that the server knows, as JSON.
    pub(super) json: Vec<u8>,
    /// What it was made for.
    pub(super) challenge: Vec<u8>,
}

impl Assertion {
    /// Reads the JSON form of a PublicKeyCredential (`credential.toJSON()` in a browser). Other members are left out.
    ///
    /// # Errors
    /// Every member that is missing or has another form.
    pub fn read(members: &Map<String, Value>) -> Result<Self, Vec<Flaw>> {
        let mut reader = Reader::default();
        let id = reader.bytes("id", members.get("id"), 1, CREDENTIAL_MAX);
        let raw_id = reader.bytes("rawId", members.get("rawId"), 1, CREDENTIAL_MAX);
        if let (Some(id), Some(raw_id)) = (&id, &raw_id)
            && id != raw_id
        {
            reader.flaw("rawId", "must be the same as id");
        }
        match members.get("type") {
            None | Some(Value::Null) => reader.flaw("type", "is required"),
            Some(Value::String(kind)) if kind == "public-key" => {}
            Some(_) => reader.flaw("type", "must be public-key"),
        }
        let response = match members.get("response") {
            None | Some(Value::Null) => {
                reader.flaw("response", "is required");
                None
            }
            Some(Value::Object(response)) => Some(response),
            Some(_) => {
                reader.flaw("response", "must be an object");
                None
            }
        };
        let Some(response) = response else { return Err(reader.0) };
        let client = reader.bytes("response.clientDataJSON", response.get("clientDataJSON"), 1, MEMBER_MAX);
        let data = reader.bytes(
            "response.authenticatorData",
            response.get("authenticatorData"),
            AUTHENTICATOR_DATA_MIN,
            MEMBER_MAX,
        );
        let signature = reader.bytes("response.signature", response.get("signature"), 1, MEMBER_MAX);
        let handle = match response.get("userHandle") {
            None | Some(Value::Null) => None,
            handle => reader.bytes("response.userHandle", handle, 1, MEMBER_MAX),
        };
        let challenge = client.as_deref().and_then(|client| reader.challenge(client));
        let (Some(credential), Some(client), Some(data), Some(signature), Some(challenge), true) =
            (id, client, data, signature, challenge, reader.0.is_empty())
        else {
            return Err(reader.0);
        };
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let json = json!({
            "id": text(&credential),
            "rawId": text(&credential),
            "type": "public-key",
            "response": {
                "clientDataJSON": text(&client),
                "authenticatorData": text(&data),
                "signature": text(&signature),
                "userHandle": handle.as_deref().map(text),
            },
        });
        Ok(Self { credential, json: json.to_string().into_bytes(), challenge })
    }
}

#[derive(Default)]
struct Reader(Vec<Flaw>);

impl Reader {
    fn flaw(&mut self, field: &'static str, what: &str) {
        self.0.push((field, format!("The {field} field {what}.")));
    }

    fn bytes(
        &mut self,
        field: &'static str,
        value: Option<&Value>,
        least: usize,
        most: usize,
    ) -> Option<Vec<u8>> {
        let text = match value {
            None | Some(Value::Null) => {
                self.flaw(field, "is required");
                return None;
            }
            Some(value) => value.as_str(),
        };
        let bytes = text.and_then(decode);
        if bytes.is_none() {
            self.flaw(field, "must be base64url");
        } else if bytes.as_ref().is_some_and(|bytes| !(least..=most).contains(&bytes.len())) {
            self.flaw(field, &format!("must be {least} to {most} bytes"));
            return None;
        }
        bytes
    }

    /// What the client data say was signed.
    fn challenge(&mut self, client: &[u8]) -> Option<Vec<u8>> {
        const FIELD: &str = "response.clientDataJSON";
        let Ok(Value::Object(members)) = serde_json::from_slice(client) else {
            self.flaw(FIELD, "must be a JSON object in base64url");
            return None;
        };
        if members.get("type").and_then(Value::as_str) != Some("webauthn.get") {
            self.flaw(FIELD, "must be that of an assertion (webauthn.get)");
            return None;
        }
        let challenge = members.get("challenge").and_then(Value::as_str).and_then(decode);
        if challenge.is_none() {
            self.flaw(FIELD, "must name its challenge");
        }
        challenge
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Options(..)")
    }
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assertion(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As captured (protocol notes 06, 1.4).
    const CAPTURED: &str = r#"{"challenge":"FC6vcJgP-Ov_66yfWgoh1w8m_trR92BnFDhg-e5JEwk","timeout":600000,
        "rpId":"whatsapp.com","allowCredentials":[],"userVerification":"required","extensions":{"uvm":true}}"#;

    #[test]
    fn captured_options_are_read_and_kept_as_they_came() {
        let options = Options::parse(CAPTURED.into()).unwrap();
        assert_eq!((options.challenge.len(), options.timeout), (32, TIMEOUT));
        assert_eq!(options.text, CAPTURED);
        let timed = |millis: u64| {
            Options::parse(format!(r#"{{"challenge":"AA==","timeout":{millis}}}"#)).unwrap().timeout
        };
        assert_eq!([timed(0), timed(120_000), timed(u64::MAX)], [SHORTEST, SHORTEST * 2, TIMEOUT]);
    }

    #[test]
    fn options_of_another_form_are_refused_with_the_member() {
        for (text, what) in [
            ("", "no JSON object"),
            ("[]", "no JSON object"),
            ("{}", "challenge"),
            (r#"{"challenge":""}"#, "challenge"),
            (r#"{"challenge":"a+/="}"#, "challenge"),
            (r#"{"challenge":"AA","rpId":7}"#, "rpId"),
            (r#"{"challenge":"AA","allowCredentials":{}}"#, "allowCredentials"),
            (r#"{"challenge":"AA","allowCredentials":[{"id":"AA"},{"id":""}]}"#, "allowCredentials"),
            (r#"{"challenge":"AA","userVerification":"perhaps"}"#, "userVerification"),
            (r#"{"challenge":"AA","userVerification":1}"#, "userVerification"),
            (r#"{"challenge":"AA","timeout":-1}"#, "timeout"),
        ] {
            assert_eq!(Options::parse(text.into()), Err(what), "{text}");
        }
    }

    fn assertion() -> Map<String, Value> {
        let client = BASE64_URL_SAFE_NO_PAD.encode(r#"{"type":"webauthn.get","challenge":"AQID"}"#);
        let value = json!({
            "id": "AQI", "rawId": "AQI", "type": "public-key", "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": { "clientDataJSON": client, "authenticatorData": BASE64_URL_SAFE_NO_PAD.encode([7; 37]),
                "signature": "MA==", "userHandle": null },
        });
        let Value::Object(members) = value else { unreachable!() };
        members
    }

    #[test]
    fn an_assertion_is_passed_on_without_padding_and_without_what_the_server_does_not_know() {
        let read = Assertion::read(&assertion()).unwrap();
        assert_eq!((read.credential, read.challenge), (vec![1, 2], vec![1, 2, 3]));
        let json: Value = serde_json::from_slice(&read.json).unwrap();
        assert_eq!(json["response"]["signature"], "MA");
        assert!(json["response"].as_object().unwrap().contains_key("userHandle"));
        assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "rawId", "type", "response"]);
    }

    #[test]
    fn every_member_that_does_not_fit_is_named() {
        let fields = |members: &Map<String, Value>| -> Vec<&'static str> {
            Assertion::read(members).unwrap_err().into_iter().map(|(field, _)| field).collect()
        };
        assert_eq!(fields(&Map::new()), ["id", "rawId", "type", "response"]);
        for (pointer, value, field) in [
            ("id", json!("AQI+"), "id"),
            ("id", json!(""), "id"),
            ("rawId", json!("AQM"), "rawId"),
            ("type", json!("password"), "type"),
            ("response", json!([]), "response"),
        ] {
            let mut members = assertion();
            members.insert(pointer.into(), value);
            assert_eq!(fields(&members), [field]);
        }
        let client = |text: &str| json!(BASE64_URL_SAFE_NO_PAD.encode(text));
        for (member, value, field) in [
            ("clientDataJSON", client("no json"), "response.clientDataJSON"),
            (
                "clientDataJSON",
                client(r#"{"type":"webauthn.create","challenge":"AQID"}"#),
                "response.clientDataJSON",
            ),
            ("clientDataJSON", client(r#"{"type":"webauthn.get"}"#), "response.clientDataJSON"),
            ("authenticatorData", json!("AQID"), "response.authenticatorData"),
            ("signature", Value::Null, "response.signature"),
            ("userHandle", json!(7), "response.userHandle"),
        ] {
            let mut members = assertion();
            members["response"][member] = value;
            assert_eq!(fields(&members), [field]);
        }
    }

    proptest! {
        #[test]
        fn no_text_brings_the_reader_of_options_down(text: String) {
            drop(Options::parse(text));
        }
    }
}
