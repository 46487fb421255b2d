//! What the device says of itself at the end of the handshake (`ClientPayload`).

use md5::{Digest as _, Md5};
use prost::Message as _;

use super::{Settings, history::HistoryWanted};
use crate::{
    crypto::signal::SignedPreKey,
    proto::{
        AppVersion, ClientPayload, DeviceProps,
        client_payload::{DevicePairingData, UserAgent, WebInfo},
        device_props::HistorySyncConfig,
    },
    store::device::{Device, Paired},
};

/// `UserAgent.Platform.WEB`
const PLATFORM_WEB: i32 = 14;
/// `DeviceProps.PlatformType.CHROME`; with the device's name it is what the phone lists.
pub(super) const PLATFORM_CHROME: i32 = 1;
/// The same in the last part of a QR code.
pub(super) const QR_CLIENT_TYPE: char = '1';
/// The same in words, while a code is typed; the server takes `Browser (OS)` and nothing else.
pub(super) const PLATFORM_DISPLAY: &str = "Chrome (Linux)";

/// How far back a full history may go: further than WhatsApp does.
const FULL_DAYS: u32 = 36_500;
/// Megabytes that the history may take (Baileys 7 announces as many).
const STORAGE_QUOTA: u32 = 10_240;

fn common(settings: &Settings) -> ClientPayload {
    let (primary, secondary, tertiary) = settings.wa_version;
    ClientPayload {
        user_agent: Some(UserAgent {
            platform: Some(PLATFORM_WEB),
            app_version: Some(AppVersion {
                primary: Some(primary),
                secondary: Some(secondary),
                tertiary: Some(tertiary),
                ..Default::default()
            }),
            mcc: Some("000".into()),
            mnc: Some("000".into()),
            os_version: Some("0.1".into()),
            manufacturer: Some(String::new()),
            device: Some("Desktop".into()),
            os_build_number: Some("0.1".into()),
            release_channel: Some(0),
            locale_language: Some("en".into()),
            locale_country: Some("US".into()),
        }),
        web_info: Some(WebInfo { web_sub_platform: Some(0) }),
        connect_type: Some(1),
        connect_reason: Some(1),
        ..Default::default()
    }
}

/// For a device that nobody has linked yet.
pub(super) fn registration(settings: &Settings, device: &Device, signed: &SignedPreKey) -> Vec<u8> {
    let (primary, secondary, tertiary) = settings.wa_version;
    let props = DeviceProps {
        os: Some(settings.device_name.clone()),
        version: Some(AppVersion {
            primary: Some(0),
            secondary: Some(1),
            tertiary: Some(0),
            ..Default::default()
        }),
        platform_type: Some(PLATFORM_CHROME),
        require_full_sync: Some(settings.history == HistoryWanted::Full),
        history_sync_config: Some(HistorySyncConfig {
            full_sync_days_limit: (settings.history == HistoryWanted::Full).then_some(FULL_DAYS),
            storage_quota_mb: Some(STORAGE_QUOTA),
            inline_initial_payload_in_e2ee_msg: Some(true),
            support_bot_user_agent_chat_history: Some(true),
            support_cag_reactions_and_polls: Some(true),
            support_biz_hosted_msg: Some(true),
            support_recent_sync_chunk_message_count_tuning: Some(true),
            support_hosted_group_msg: Some(true),
            support_fbid_bot_chat_history: Some(true),
            support_message_association: Some(true),
            ..Default::default()
        }),
    };
    let [_, a, b, c] = signed.id.to_be_bytes();
    let pairing = DevicePairingData {
        e_regid: Some(device.registration_id.to_be_bytes().to_vec()),
        e_keytype: Some(vec![5]),
        e_ident: Some(device.identity.public.as_bytes().to_vec()),
        e_skey_id: Some(vec![a, b, c]),
        e_skey_val: Some(signed.key.as_bytes().to_vec()),
        e_skey_sig: Some(signed.signature.to_vec()),
        build_hash: Some(Md5::digest(format!("{primary}.{secondary}.{tertiary}")).to_vec()),
        device_props: Some(props.encode_to_vec()),
    };
    ClientPayload {
        passive: Some(false),
        pull: Some(false),
        device_pairing_data: Some(pairing),
        ..common(settings)
    }
    .encode_to_vec()
}

/// For a linked device.
pub(super) fn login(settings: &Settings, device: &Device, paired: &Paired) -> Vec<u8> {
    ClientPayload {
        username: paired.jid.user().parse().ok(),
        device: Some(u32::from(paired.jid.device())),
        passive: Some(true),
        pull: Some(true),
        lc: i32::try_from(device.login_count).ok(),
        lid_db_migrated: Some(true),
        push_name: paired.push_name.clone(),
        ..common(settings)
    }
    .encode_to_vec()
}
