//! The list of chats and the address book, in the database alone.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use wazap::{
    clock::Millis,
    store::{
        Error, Store, Tx,
        chats::{ChatView, Mute},
        groups::Group,
        messages::{MessageKey, NewMessage, Progress},
    },
    wire::Jid,
};

fn pn() -> Jid {
    Jid::pn("5511999999999")
}

fn lid() -> Jid {
    Jid::lid("123456789012345")
}

async fn with<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
) -> T {
    store.write(work).await.unwrap()
}

fn message(tx: &Tx<'_>, chat: i64, id: &str, at: u64, from_me: bool) -> Result<i64, Error> {
    let added = tx.messages().insert(&NewMessage {
        key: MessageKey { chat, wa_id: id.into(), from_me, participant: None },
        uuid: id.into(),
        at: Millis(at),
        push_name: None,
        content: Vec::new(),
        progress: Progress::Pending,
    })?;
    Ok(added.expect("a new message"))
}

fn view(tx: &Tx<'_>, chat: i64) -> Result<ChatView, Error> {
    Ok(tx.chats().view(chat)?.expect("a chat that is shown"))
}

#[tokio::test]
async fn unread_is_what_came_after_the_last_reading_and_the_last_answer() {
    let store = Store::in_memory().unwrap();
    with(&store, |tx| {
        let chat = tx.messages().chat(&pn())?.id;
        let unread = |tx: &Tx<'_>| view(tx, chat).map(|view| view.unread_count);
        for n in 1..=3 {
            message(tx, chat, &format!("M{n}"), n * 1000, false)?;
        }
        assert_eq!(unread(tx)?, 3);
        assert!(tx.chats().read_until(chat, Millis(1000))?);
        assert!(!tx.chats().read_until(chat, Millis(500))?, "what was read stays read");
        assert_eq!(unread(tx)?, 2);
        message(tx, chat, "OURS", 2500, true)?;
        assert_eq!(unread(tx)?, 1);
        message(tx, chat, "AGAIN", 3500, true)?;
        assert_eq!(unread(tx)?, 0);
        // In the second of the answer, but behind it.
        message(tx, chat, "M4", 3000, false)?;
        assert_eq!(unread(tx)?, 1);
        let reaction = message(tx, chat, "REACTION", 4000, false)?;
        tx.chats().set_aside(reaction)?;
        assert_eq!((unread(tx)?, view(tx, chat)?.last_message_at), (1, Some(Millis(4000))));
        assert_eq!(tx.chats().last_message(chat)?.unwrap().key.wa_id, "AGAIN");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_cleared_chat_stays_and_a_deleted_one_comes_back_with_news() {
    let store = Store::in_memory().unwrap();
    with(&store, |tx| {
        let chat = tx.messages().chat(&pn())?.id;
        let kept = message(tx, chat, "STAR", 1000, false)?;
        message(tx, chat, "M2", 2000, false)?;
        tx.chats().set_starred(kept, true)?;
        assert!(tx.chats().delete_until(chat, Millis(2000), false, false)?);
        assert_eq!(view(tx, chat)?.last_message_at, Some(Millis(1000)), "a star keeps a message");
        assert!(tx.chats().delete_until(chat, Millis(2000), true, false)?);
        assert_eq!(view(tx, chat)?.last_message_at, None);
        assert!(!tx.chats().delete_until(chat, Millis(2000), true, false)?, "nothing is left");
        assert!(tx.chats().delete_until(chat, Millis(2000), true, true)?);
        assert_eq!((tx.chats().view(chat)?, tx.chats().list(0, 10)?.1), (None, 0));
        message(tx, chat, "LATE", 1500, false)?;
        assert_eq!(tx.chats().view(chat)?, None, "older than the deletion");
        message(tx, chat, "NEWS", 2001, false)?;
        assert_eq!(tx.chats().list(0, 10)?.1, 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn two_rows_of_one_person_become_one_with_what_is_known_of_both() {
    let store = Store::in_memory().unwrap();
    with(&store, |tx| {
        let (one, other) = (tx.messages().chat(&pn())?.id, tx.messages().chat(&lid())?.id);
        assert_ne!(one, other);
        tx.chats().set_pinned(one, Some(Millis(5)))?;
        tx.chats().set_muted(other, Mute::Forever)?;
        tx.chats().set_archived(other, true)?;
        tx.chats().set_label("3", Some(("Leads", 1)))?;
        tx.chats().set_label_on("3", other, true)?;
        tx.contacts().set_name(&lid(), "Alice", None)?;
        tx.people().set_push_name(&pn(), "ali")?;
        tx.people().learn(&pn(), &lid())?;
        let view = view(tx, one)?;
        assert_eq!((view.pinned, view.archived, view.muted), (true, true, Mute::Forever));
        assert_eq!((view.name.as_deref(), tx.chats().labels_of(one)?), (Some("Alice"), vec!["3".to_owned()]));
        assert_eq!(tx.chats().list(0, 10)?.1, 1);
        let contact = tx.contacts().find(&lid())?.unwrap();
        assert_eq!((contact.jid, contact.lid), (pn(), Some(lid())));
        assert_eq!((contact.name.as_deref(), contact.push_name.as_deref()), (Some("Alice"), Some("ali")));
        // From here on the name is kept in one place.
        assert!(tx.contacts().set_name(&lid(), "Alice Souza", None)?);
        assert!(tx.contacts().remove_name(&pn())?);
        assert!(!tx.contacts().remove_name(&lid())?);
        assert_eq!(tx.contacts().find(&pn())?.unwrap().name, None);
        tx.chats().set_label("3", None)?;
        assert!(tx.chats().labels_of(one)?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_group_is_called_what_its_subject_says_and_statuses_are_no_chat() {
    let store = Store::in_memory().unwrap();
    with(&store, |tx| {
        let jid = Jid::group("120363025246125486");
        let chat = tx.messages().chat(&jid)?.id;
        message(tx, chat, "M1", 1000, false)?;
        let status = tx.messages().chat(&Jid::status_broadcast())?.id;
        message(tx, status, "S1", 2000, false)?;
        assert_eq!((view(tx, chat)?.name, view(tx, chat)?.announcement), (None, None));
        tx.groups().set(&Group {
            jid,
            subject: "Loja".into(),
            description: None,
            description_id: None,
            owner: None,
            created: 1,
            by_lid: true,
            announce: true,
            locked: false,
            ephemeral: 0,
            admins_add: false,
            approval: false,
            member: true,
            community: false,
            parent: None,
            announcements: false,
            fetched_at: Millis(1),
        })?;
        assert_eq!(view(tx, chat)?.name.as_deref(), Some("Loja"));
        assert_eq!(view(tx, chat)?.announcement, Some(true));
        assert_eq!((tx.chats().view(status)?, tx.chats().list(0, 10)?.1), (None, 1));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn who_is_not_in_a_new_address_book_is_taken_out() {
    let store = Store::in_memory().unwrap();
    with(&store, |tx| {
        let names = ["5511900000001", "5511900000002", "5511900000003"];
        for name in names {
            tx.contacts().set_name(&Jid::pn(name), name, None)?;
        }
        tx.contacts().unlist()?;
        assert!(!tx.contacts().set_name(&Jid::pn(names[0]), names[0], None)?, "no news");
        assert!(tx.contacts().set_name(&Jid::pn(names[2]), "Other", None)?);
        assert_eq!(tx.contacts().remove_unlisted()?, [Jid::pn(names[1])]);
        assert_eq!(tx.contacts().remove_unlisted()?, []);
        assert_eq!(tx.contacts().find(&Jid::pn(names[2]))?.unwrap().name.as_deref(), Some("Other"));
        Ok(())
    })
    .await;
}
