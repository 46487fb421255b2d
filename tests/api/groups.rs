//! `/groups`: what each route takes, what it hands on, what it answers, and what it refuses.

use serde_json::{Value, json};
use wazap::{
    account::{
        AddRequest, AskError, Body, Group, GroupAnswer, GroupCommand, GroupMember, GroupRequest,
        GroupSetting, GroupUpdate, GroupView, MemberChange, Question, Recipient, Role, Status, Told,
    },
    clock::Millis,
    wire::Jid,
};

use crate::harness::{Answer, Story, error};

const ID: &str = "120363001234567890";
const ANA: &str = "5511987654321";
const BEA: &str = "5511976543210";

fn jid() -> Jid {
    Jid::group(ID)
}

pub(crate) fn view() -> GroupView {
    let group = Group {
        jid: jid(),
        subject: "Marketing Team".into(),
        description: Some("Team discussions".into()),
        description_id: Some("D".into()),
        owner: Some(Jid::pn(ANA)),
        created: 1_767_115_800,
        by_lid: true,
        announce: true,
        locked: false,
        ephemeral: 86_400,
        admins_add: true,
        approval: false,
        member: true,
        community: false,
        parent: None,
        announcements: false,
        fetched_at: Millis(1),
    };
    let members = vec![
        GroupMember { jid: Jid::pn(ANA), lid: Some(Jid::lid("77")), role: Role::SuperAdmin },
        GroupMember { jid: Jid::lid("88"), lid: Some(Jid::lid("88")), role: Role::Member },
    ];
    GroupView { group, members }
}

async fn ask(
    answer: Result<GroupAnswer, AskError>,
    method: &str,
    path: &str,
    body: Value,
) -> (Answer, Vec<GroupCommand>) {
    let story = Story::new();
    story.instance.tells(answer.map(Told::Group));
    story.store.write(|tx| tx.people().learn(&Jid::pn(ANA), &Jid::lid("77"))).await.unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = story.call(method, path, &body).await;
    let asked = story.instance.asked(|asked| std::mem::take(&mut asked.questions));
    let of_groups = |question| match question {
        Question::Group(command) => command,
        other => panic!("a question about groups became {other:?}"),
    };
    (answer, asked.into_iter().map(of_groups).collect())
}

#[tokio::test]
async fn groups_are_listed_page_by_page() {
    let views = || Ok(GroupAnswer::Groups(vec![view(), view(), view()]));
    let (answer, asked) = ask(views(), "GET", "/groups", Value::Null).await;
    assert_eq!(asked, [GroupCommand::List]);
    let body = answer.json();
    let one = json!({ "jid": format!("{ID}@g.us"), "subject": "Marketing Team", "size": 2,
        "owner": format!("{ANA}@s.whatsapp.net"), "owner_lid": "77@lid", "description": "Team discussions",
        "community": false, "parent": null, "is_announcement": false });
    assert_eq!(body["groups"], json!([one, one, one]));
    assert_eq!((&body["success"], &body["total"], &body["page"]), (&json!(true), &json!(3), &json!(1)));
    let (answer, _) = ask(views(), "GET", "/groups?page=2&per_page=2", Value::Null).await;
    assert_eq!(answer.json()["groups"].as_array().unwrap().len(), 1);
    let (answer, asked) = ask(views(), "GET", "/groups?page=0&per_page=101", Value::Null).await;
    assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0));
    assert_eq!(answer.details().as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn a_group_is_made_and_shown() {
    let created = GroupAnswer::Created {
        view: Box::new(view()),
        results: vec![(Jid::pn(ANA), 200), (Jid::pn(BEA), 403)],
        invites: Vec::new(),
    };
    let body = json!({ "subject": " Marketing Team ", "participants": ["+55 11 98765-4321", BEA] });
    let (answer, asked) = ask(Ok(created), "POST", "/groups", body).await;
    assert_eq!(answer.status, 201);
    let people = vec![Jid::pn(ANA), Jid::pn(BEA)];
    assert_eq!(asked, [GroupCommand::Create { subject: "Marketing Team".into(), people }]);
    let body = answer.json();
    assert_eq!(body["group"], json!({ "jid": format!("{ID}@g.us"), "subject": "Marketing Team" }));
    assert_eq!(body["message"], "Group created successfully");
    assert_eq!(
        body["participants"],
        json!([
            { "jid": format!("{ANA}@s.whatsapp.net"), "lid": "77@lid", "status": "200" },
            { "jid": format!("{BEA}@s.whatsapp.net"), "lid": null, "status": "403" }
        ])
    );

    for path in [format!("/groups/{ID}@g.us"), format!("/groups/{ID}%40g.us"), format!("/groups/{ID}")] {
        let (answer, asked) = ask(Ok(GroupAnswer::Group(Box::new(view()))), "GET", &path, Value::Null).await;
        assert_eq!(asked, [GroupCommand::Info(jid())], "{path}");
        let body = answer.json();
        assert_eq!(
            body["participants"],
            json!([
                { "jid": format!("{ANA}@s.whatsapp.net"), "lid": "77@lid", "admin": "superadmin" },
                { "jid": "88@lid", "lid": "88@lid", "admin": null }
            ])
        );
        assert_eq!((&body["announce"], &body["member_add"]), (&json!(true), &json!("admins")));
        assert_eq!(body["created_at"], "2025-12-30T17:30:00.000Z");
    }
}

#[tokio::test]
async fn what_is_no_group_is_not_found_and_what_whatsapp_refuses_is_said() {
    for path in ["/groups/5511987654321", "/groups/x", "/groups/1@lid"] {
        let (answer, asked) = ask(Ok(GroupAnswer::Done), "GET", path, Value::Null).await;
        assert_eq!((answer.error(), asked.len()), (error(404, "GROUP_NOT_FOUND"), 0), "{path}");
    }
    let path = format!("/groups/{ID}");
    let (answer, _) = ask(Err(AskError::Unknown), "GET", &path, Value::Null).await;
    assert_eq!(answer.error(), error(404, "GROUP_NOT_FOUND"));
    let (answer, _) = ask(Err(AskError::Refused(401)), "POST", &format!("{path}/leave"), Value::Null).await;
    assert_eq!(answer.error(), error(422, "GROUP_OPERATION_FAILED"));
    assert_eq!(answer.details(), json!({ "whatsapp_code": 401 }));
    let (answer, _) = ask(Err(AskError::NotConnected(Status::Offline)), "GET", "/groups", Value::Null).await;
    assert_eq!(answer.error(), error(503, "INSTANCE_NOT_CONNECTED"));
    let (answer, _) = ask(Err(AskError::Internal), "GET", "/groups", Value::Null).await;
    assert_eq!(answer.error(), error(500, "INTERNAL_ERROR"));
}

#[tokio::test]
async fn a_group_is_changed_in_every_respect_at_once_or_in_one() {
    let path = format!("/groups/{ID}");
    let all = json!({ "subject": "Club", "description": "", "announce": true, "locked": false,
        "ephemeral_seconds": 604800, "member_add": "everyone", "join_approval": true });
    let (answer, asked) = ask(Ok(GroupAnswer::Group(Box::new(view()))), "PATCH", &path, all).await;
    let update = GroupUpdate {
        subject: Some("Club".into()),
        description: Some(String::new()),
        settings: vec![
            GroupSetting::Announce(true),
            GroupSetting::Locked(false),
            GroupSetting::Ephemeral(604_800),
            GroupSetting::AdminsAdd(false),
            GroupSetting::Approval(true),
        ],
    };
    assert_eq!(asked, [GroupCommand::Update { group: jid(), update }]);
    let body = answer.json();
    assert_eq!((&body["message"], &body["success"]), (&json!("Group updated successfully"), &json!(true)));
    assert_eq!(
        (&body["subject"], &body["description"]),
        (&json!("Marketing Team"), &json!("Team discussions"))
    );
    for (field, body) in [
        ("subject", json!({})),
        ("subject", json!({ "subject": " " })),
        ("subject", json!({ "subject": "x".repeat(101) })),
        ("description", json!({ "description": "x".repeat(2049) })),
        ("announce", json!({ "announce": "yes" })),
        ("ephemeral_seconds", json!({ "ephemeral_seconds": 60 })),
        ("member_add", json!({ "member_add": "nobody" })),
    ] {
        let (answer, asked) = ask(Ok(GroupAnswer::Done), "PATCH", &path, body).await;
        assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0));
        assert!(answer.details()[field].is_array(), "{field}");
    }
}

#[tokio::test]
async fn each_person_has_a_result_and_all_refused_is_a_refusal() {
    let results =
        |codes: [u16; 2]| GroupAnswer::Results(vec![(Jid::pn(ANA), codes[0]), (Jid::pn(BEA), codes[1])]);
    let body = || json!({ "participants": [ANA, format!("{BEA}@s.whatsapp.net")] });
    for (method, tail, change, message) in [
        ("POST", "participants", MemberChange::Add, "Participants added successfully"),
        ("DELETE", "participants", MemberChange::Remove, "Participants removed successfully"),
        ("POST", "admins", MemberChange::Promote, "Participants promoted successfully"),
        ("DELETE", "admins", MemberChange::Demote, "Participants demoted successfully"),
    ] {
        let path = format!("/groups/{ID}/{tail}");
        let (answer, asked) = ask(Ok(results([200, 409])), method, &path, body()).await;
        let people = vec![Jid::pn(ANA), Jid::pn(BEA)];
        assert_eq!(asked, [GroupCommand::Members { group: jid(), change, people }]);
        assert_eq!(answer.json()["message"], message);
        let expected = json!([
            { "jid": format!("{ANA}@s.whatsapp.net"), "lid": "77@lid", "status": "200" },
            { "jid": format!("{BEA}@s.whatsapp.net"), "lid": null, "status": "409" }
        ]);
        assert_eq!(answer.json()["participants"], expected);
        let (answer, _) = ask(Ok(results([403, 409])), method, &path, body()).await;
        assert_eq!(answer.error(), error(422, "GROUP_OPERATION_FAILED"));
        assert_eq!(answer.details()["participants"][0]["status"], "403");
        let many: Vec<String> = (0..257).map(|n| format!("55119{n:08}")).collect();
        for wrong in [
            json!({}),
            json!({ "participants": [] }),
            json!({ "participants": ["x"] }),
            json!({ "participants": many }),
        ] {
            let (answer, asked) = ask(Ok(GroupAnswer::Done), method, &path, wrong).await;
            assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0));
            assert!(answer.details()["participants"].is_array());
        }
    }
}

#[tokio::test]
async fn links_lead_in_and_are_revoked() {
    let code = "AbCdEfGhIjKlMnOpQrStUv";
    let link = format!("https://chat.whatsapp.com/{code}");
    let path = format!("/groups/{ID}/invite");
    let invite = || Ok(GroupAnswer::Invite(code.into()));
    let (answer, asked) = ask(invite(), "GET", &path, Value::Null).await;
    assert_eq!(asked, [GroupCommand::Invite(jid())]);
    assert_eq!(answer.json(), json!({ "success": true, "code": code, "invite_link": link }));
    for method in ["DELETE", "POST"] {
        let (answer, asked) = ask(invite(), method, &path, Value::Null).await;
        assert_eq!(asked, [GroupCommand::RevokeInvite(jid())]);
        let body = answer.json();
        assert_eq!((&body["new_code"], &body["new_invite_link"]), (&json!(code), &json!(link)));
    }
    let (answer, asked) =
        ask(Ok(GroupAnswer::Group(Box::new(view()))), "GET", &format!("/groups/invite/{code}"), Value::Null)
            .await;
    assert_eq!(asked, [GroupCommand::InviteInfo(code.into())]);
    assert_eq!((&answer.json()["subject"], &answer.json()["size"]), (&json!("Marketing Team"), &json!(2)));
    let (answer, _) =
        ask(Err(AskError::Refused(410)), "GET", &format!("/groups/invite/{code}"), Value::Null).await;
    assert_eq!(answer.error(), error(404, "GROUP_NOT_FOUND"));

    for (inside, status) in [(true, "joined"), (false, "pending")] {
        for body in [json!({ "code": code }), json!({ "invite_link": link })] {
            let joined = GroupAnswer::Joined { group: jid(), inside };
            let (answer, asked) = ask(Ok(joined), "POST", "/groups/join", body).await;
            assert_eq!(asked, [GroupCommand::Join(code.into())]);
            assert_eq!(
                (&answer.json()["jid"], &answer.json()["status"]),
                (&json!(jid().to_wire()), &json!(status))
            );
        }
    }
    let given =
        json!({ "group": jid().to_wire(), "code": "k3yk3y", "expiration": 1_800_000_000, "admin": ANA });
    let accept = GroupCommand::Accept {
        group: jid(),
        invite: wazap::account::AddRequest { code: "k3yk3y".into(), expiration: 1_800_000_000 },
        admin: Jid::pn(ANA),
    };
    for (body, wanted) in
        [(given, accept), (json!({ "message_id": "3EB0AA" }), GroupCommand::AcceptMessage("3EB0AA".into()))]
    {
        let joined = GroupAnswer::Joined { group: jid(), inside: true };
        let (answer, asked) = ask(Ok(joined), "POST", "/groups/join", body).await;
        assert_eq!((asked, answer.json()["status"].clone()), (vec![wanted], json!("joined")));
    }
    for (wrong, fields) in [
        (json!({ "message_id": 7 }), vec!["message_id"]),
        (json!({ "group": "x", "code": "c" }), vec!["group", "expiration", "admin"]),
        (
            json!({ "group": jid().to_wire(), "expiration": -1, "admin": "?" }),
            vec!["code", "expiration", "admin"],
        ),
    ] {
        let (answer, asked) = ask(Ok(GroupAnswer::Done), "POST", "/groups/join", wrong).await;
        assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0));
        let named: Vec<String> = answer.details().as_object().unwrap().keys().cloned().collect();
        assert_eq!(named, fields);
    }
    for wrong in [json!({}), json!({ "code": "a b" }), json!({ "code": 7 })] {
        let (answer, asked) = ask(Ok(GroupAnswer::Done), "POST", "/groups/join", wrong).await;
        assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0));
        assert!(answer.details()["code"].is_array());
    }
}

#[tokio::test]
async fn who_waits_is_let_in_or_not() {
    let path = format!("/groups/{ID}/requests");
    let waiting = GroupRequest { jid: Jid::pn(ANA), lid: None, at: Millis(1_767_115_800_000) };
    let (answer, asked) = ask(Ok(GroupAnswer::Requests(vec![waiting])), "GET", &path, Value::Null).await;
    assert_eq!(asked, [GroupCommand::Requests(jid())]);
    let one = json!({ "jid": format!("{ANA}@s.whatsapp.net"), "lid": null, "requested_at": "2025-12-30T17:30:00.000Z" });
    assert_eq!(answer.json(), json!({ "success": true, "requests": [one], "total": 1 }));
    let decided = || Ok(GroupAnswer::Results(vec![(Jid::pn(ANA), 200)]));
    let (answer, asked) = ask(decided(), "POST", &path, json!({ "approve": [ANA], "reject": [BEA] })).await;
    let decide =
        |approve, who: &str| GroupCommand::Decide { group: jid(), approve, people: vec![Jid::pn(who)] };
    assert_eq!(asked, [decide(true, ANA), decide(false, BEA)]);
    assert_eq!(answer.json()["message"], "Requests handled successfully");
    for (field, wrong) in [
        ("approve", json!({})),
        ("approve", json!({ "approve": [] })),
        ("reject", json!({ "reject": "x" })),
        ("reject", json!({ "approve": [ANA], "reject": [ANA] })),
    ] {
        let (answer, asked) = ask(decided(), "POST", &path, wrong).await;
        assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0));
        assert!(answer.details()[field].is_array(), "{field}");
    }
}

#[tokio::test]
async fn whoever_may_only_look_changes_nothing() {
    let story = Story::new();
    let (_, token) = story.token("read", None).await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    story.instance.tells(Ok(Told::Group(GroupAnswer::Groups(Vec::new()))));
    assert_eq!(story.call_with("GET", "/groups", &headers, "").await.status, 200);
    for (method, path) in [
        ("POST", "/groups".to_owned()),
        ("POST", "/groups/join".to_owned()),
        ("PATCH", format!("/groups/{ID}")),
        ("POST", format!("/groups/{ID}/leave")),
        ("DELETE", format!("/groups/{ID}/invite")),
        ("POST", format!("/groups/{ID}/requests")),
    ] {
        let answer = story.call_with(method, &path, &headers, "{}").await;
        assert_eq!(answer.error(), error(403, "FORBIDDEN"), "{method} {path}");
    }
    assert_eq!(story.call("PUT", "/groups", "").await.error(), error(405, "METHOD_NOT_ALLOWED"));
}

#[tokio::test]
async fn who_may_not_be_put_into_a_new_group_is_invited_on_request() {
    for invite in [true, false] {
        let story = Story::new();
        let request = AddRequest { code: "abc".into(), expiration: 1_767_375_000 };
        let created = GroupAnswer::Created {
            view: Box::new(view()),
            results: vec![(Jid::pn(ANA), 200), (Jid::pn(BEA), 403)],
            invites: vec![(Jid::pn(BEA), request)],
        };
        story.instance.tells(Ok(Told::Group(created)));
        let body = json!({ "subject": "Club", "participants": [ANA, BEA], "invite": invite });
        let answer = story.call("POST", "/groups", &body.to_string()).await;
        assert_eq!(answer.status, 201);
        let sent = story.instance.asked(|asked| std::mem::take(&mut asked.sends));
        assert_eq!(sent.len(), usize::from(invite));
        if let Some(message) = sent.first() {
            assert_eq!(message.recipient, Recipient::Jid(Jid::pn(BEA)));
            assert!(matches!(&message.body, Body::GroupInvite { name, .. } if *name == view().group.subject));
        }
        let shown = &answer.json()["participants"][1];
        assert_eq!((&shown["status"], &shown["invite"]["code"]), (&json!("403"), &json!("abc")));
        assert_eq!(shown["invite"]["message_id"].is_string(), invite);
    }
    let body = json!({ "subject": "Club", "participants": [ANA], "invite": "yes" });
    let (answer, asked) = ask(Ok(GroupAnswer::Done), "POST", "/groups", body).await;
    assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0));
}
