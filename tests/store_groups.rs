//! Groups, sender keys and who was told them, as the database keeps them.

#![allow(clippy::unwrap_used)]

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::runtime::Builder;
use wazap::{
    clock::Millis,
    crypto::signal::SenderKeys,
    store::{
        Error, Store, Tx,
        groups::{Group, Role},
    },
    wire::Jid,
};

const NOW: Millis = Millis(1_767_115_800_000);

fn with<T: Send + 'static>(work: impl FnOnce(&mut Tx<'_>) -> Result<T, Error> + Send + 'static) -> T {
    let store = Store::in_memory().unwrap();
    Builder::new_current_thread().build().unwrap().block_on(store.write(work)).unwrap()
}

fn group() -> Group {
    Group {
        jid: Jid::group("120363000000000001"),
        subject: "Team".into(),
        description: Some("what for".into()),
        description_id: Some("D1".into()),
        owner: Some(Jid::lid("1")),
        created: 1_767_000_000,
        by_lid: true,
        announce: false,
        locked: true,
        ephemeral: 604_800,
        admins_add: true,
        approval: false,
        member: true,
        community: false,
        parent: None,
        announcements: false,
        fetched_at: NOW,
    }
}

#[test]
fn a_group_reads_back_as_it_was_kept_and_a_change_leaves_its_members() {
    with(|tx| {
        let kept = group();
        tx.groups().set(&kept)?;
        tx.groups().set_participants(&kept.jid, &[(Jid::lid("1"), Role::SuperAdmin)], NOW)?;
        assert_eq!(tx.groups().find(&kept.jid)?, Some(kept.clone()));
        let changed = Group { subject: "Club".into(), description: None, ..kept.clone() };
        tx.groups().set(&changed)?;
        tx.groups().make_stale(&kept.jid)?;
        assert_eq!(tx.groups().find(&kept.jid)?, Some(Group { fetched_at: Millis(0), ..changed }));
        assert_eq!(tx.groups().participants(&kept.jid)?.len(), 1);
        Ok(())
    });
}

#[test]
fn who_was_there_at_the_first_look_was_there_before_and_newcomers_are_newer() {
    with(|tx| {
        let kept = group();
        tx.groups().set(&kept)?;
        let first = [(Jid::lid("1"), Role::Admin), (Jid::lid("2"), Role::Member)];
        tx.groups().set_participants(&kept.jid, &first, NOW)?;
        let later = Millis(NOW.0 + 5);
        tx.groups().set_participants(
            &kept.jid,
            &[(Jid::lid("2"), Role::Admin), (Jid::lid("3"), Role::Member)],
            later,
        )?;
        tx.groups().put_participant(&kept.jid, &Jid::lid("4"), Role::Member, later)?;
        let members = tx.groups().participants(&kept.jid)?;
        let seen: Vec<_> = members.iter().map(|m| (m.jid.user().to_owned(), m.role, m.since)).collect();
        assert_eq!(
            seen,
            [
                ("2".into(), Role::Admin, Millis(0)),
                ("3".into(), Role::Member, later),
                ("4".into(), Role::Member, later)
            ]
        );
        // By the other name, too.
        tx.people().learn(&Jid::lid("3"), &Jid::pn("5511999999999"))?;
        assert!(tx.groups().participant(&kept.jid, &Jid::pn("5511999999999"))?.is_some());
        tx.groups().remove_participant(&kept.jid, &Jid::pn("5511999999999"))?;
        assert_eq!(tx.groups().participants(&kept.jid)?.len(), 2);
        Ok(())
    });
}

#[test]
fn a_dropped_key_takes_along_who_was_told_and_a_learned_lid_takes_the_keys_over() {
    with(|tx| {
        let mut rng = StdRng::seed_from_u64(1);
        let (one, two) = (Jid::group("1"), Jid::group("2"));
        let own = SenderKeys::generate(&mut rng);
        for chat in [&one, &two] {
            tx.sender_keys().set_own(chat, &own)?;
            tx.sender_keys().tell(chat, [&Jid::lid("7"), &Jid::lid("7").with_device(3)])?;
        }
        tx.sender_keys().drop_own(&one)?;
        assert!(tx.sender_keys().own(&one)?.is_none() && tx.sender_keys().told(&one)?.is_empty());
        assert_eq!(tx.sender_keys().own(&two)?.unwrap().id(), own.id());
        assert_eq!(tx.sender_keys().told(&two)?.len(), 2);

        let number = Jid::pn("5511999999999");
        let mut theirs = SenderKeys::default();
        theirs.process(&own.distribution().unwrap()).unwrap();
        tx.sender_keys().set(&two, &number.with_device(3), &theirs)?;
        tx.people().learn(&number, &Jid::lid("7"))?;
        assert_eq!(tx.sender_keys().of(&two, &Jid::lid("7").with_device(3))?.id(), own.id());
        assert_eq!(tx.sender_keys().of(&two, &number.with_device(3))?.id(), None);
        tx.sender_keys().forget_told(&two, &number.with_device(3))?;
        assert_eq!(tx.sender_keys().told(&two)?, [Jid::lid("7")]);
        tx.sender_keys().forget_device(&number)?;
        assert!(tx.sender_keys().told(&two)?.is_empty());
        Ok(())
    });
}

#[test]
fn everybody_is_whoever_there_is_a_chat_or_a_name_of_and_no_group() {
    with(|tx| {
        tx.messages().chat(&Jid::pn("5511999999999"))?;
        tx.messages().chat(&Jid::group("1"))?;
        tx.messages().chat(&Jid::status_broadcast())?;
        tx.people().set_push_name(&Jid::lid("8"), "Ana")?;
        let mut everybody: Vec<String> = tx.groups().everybody()?.iter().map(Jid::to_wire).collect();
        everybody.sort_unstable();
        assert_eq!(everybody, ["5511999999999@s.whatsapp.net", "8@lid"]);
        tx.groups().set_audience("3EB0AA", &[Jid::lid("8"), Jid::lid("8").with_device(2)])?;
        assert_eq!(tx.groups().audience("3EB0AA")?, [Jid::lid("8")]);
        Ok(())
    });
}
