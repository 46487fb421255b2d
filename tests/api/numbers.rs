//! `POST /check-number`.

use serde_json::{Value, json};
use wazap::{
    account::{SendError, Status},
    wire::Jid,
};

use crate::harness::{START, Story, error};

async fn check(story: &Story, numbers: Value) -> crate::harness::Answer {
    story.call("POST", "/check-number", &json!({ "numbers": numbers }).to_string()).await
}

#[tokio::test]
async fn each_number_is_answered_for_as_it_was_given() {
    let story = Story::new();
    let stored = story.store.write(|tx| {
        let (pn, lid) = (Jid::pn("5511999999999"), Jid::lid("123456789"));
        tx.people().learn(&pn, &lid)?;
        tx.people().set_number("5511999999999", Some(&pn), START)
    });
    stored.await.unwrap();
    let answer = check(&story, json!(["+55 (11) 99999-9999", 5_511_999_999_999_u64])).await.json();
    let found = |given: Value| json!({ "number": given, "exists": true, "jid": "5511999999999@s.whatsapp.net", "lid": "123456789@lid" });
    let expected = [found(json!("+55 (11) 99999-9999")), found(json!(5_511_999_999_999_u64))];
    assert_eq!(answer, json!({ "success": true, "results": expected }));
    assert_eq!(story.instance.asked(|asked| asked.checked.clone()), ["5511999999999", "5511999999999"]);

    story.instance.answers(Err(SendError::NotOnWhatsapp("5511988887777".into())));
    let answer = check(&story, json!(["5511988887777"])).await.json();
    let expected = json!({ "number": "5511988887777", "exists": false, "jid": null, "lid": null });
    assert_eq!(answer["results"], json!([expected]));

    story.instance.answers(Err(SendError::NotConnected(Status::QrReady)));
    assert_eq!(check(&story, json!(["5511988887777"])).await.error(), error(503, "INSTANCE_NOT_CONNECTED"));
}

#[tokio::test]
async fn what_is_no_list_of_numbers_is_refused() {
    let story = Story::new();
    let many: Vec<String> = (0..51).map(|n| format!("55119000000{n:02}")).collect();
    for numbers in [
        json!(null),
        json!("5511999999999"),
        json!([]),
        json!(["abc"]),
        json!(["120363000000000001@g.us"]),
        json!(many),
    ] {
        let refused = check(&story, numbers.clone()).await;
        assert_eq!(refused.error(), error(422, "VALIDATION_ERROR"), "{numbers}");
        assert!(refused.details()["numbers"].is_array());
    }
    assert!(check(&story, json!(many[..50])).await.json()["success"] == json!(true));
}
