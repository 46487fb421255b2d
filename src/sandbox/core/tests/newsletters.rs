//! Newsletters: that they survive a restart, with everything in them.

use super::*;

#[test]
fn a_restored_world_knows_its_newsletters_their_followers_and_posts() {
    let mut story = Story::new();
    let numbers = ["Ana", "Bia"].map(|name| {
        let phone = story.world.create_phone(None, Some(name.into()), None, story.now).unwrap();
        story.world.phone_view(phone).number
    });
    let [ana, bia] = &numbers;
    let now = story.now;
    let world = &mut story.world;
    let jid = world.create_newsletter(ana, "News", "of the day", now).unwrap();
    world.phone_follows(bia, &jid, true, now).unwrap();
    let id = world.phone_posts(ana, &jid, Some("teh"), None, now).unwrap();
    world.phone_posts(ana, &jid, Some("the"), Some(&id), now).unwrap();
    world.phone_reacts_to_post(bia, &jid, 100, "👍", now).unwrap();
    let before = world.newsletter_view(&jid).unwrap();
    assert_eq!(before.posts[0].reactions, [(bia.clone(), "👍".to_owned())]);

    let saved = serde_json::to_string(&world.snapshot(1)).unwrap();
    let mut again = World::new(SETTINGS, StdRng::seed_from_u64(3));
    again.restore(&serde_json::from_str(&saved).unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&again.snapshot(1)).unwrap(), saved);
    assert_eq!(again.newsletter_view(&jid).unwrap(), before);
    // Its owner goes on where the numbers stood; others still may not.
    again.phone_posts(ana, &jid, Some("more"), None, now).unwrap();
    assert!(again.phone_posts(bia, &jid, Some("me, too"), None, now).is_err());
    let numbers: Vec<u64> =
        again.newsletter_view(&jid).unwrap().posts.iter().map(|post| post.server_id).collect();
    assert_eq!(numbers, [100, 101]);

    // What was saved before there were newsletters is read, too; an account that does not exist is none.
    let mut older: serde_json::Value = serde_json::from_str(&saved).unwrap();
    older.as_object_mut().unwrap().remove("newsletters");
    let fresh = || World::new(SETTINGS, StdRng::seed_from_u64(3));
    fresh().restore(&serde_json::from_value(older).unwrap()).unwrap();
    let mut damaged: serde_json::Value = serde_json::from_str(&saved).unwrap();
    damaged["newsletters"][0]["posts"][0]["author"] = 99.into();
    assert!(fresh().restore(&serde_json::from_value(damaged).unwrap()).is_err());
}
