//! What callers ask of profiles: one query, or a few in a row.

use std::collections::VecDeque;

use crate::{
    account::{
        AskError, Error, Recipient, Told,
        ask::{Next, Outcome, Step},
        dispatch::{Account, Turn},
    },
    stanza::{
        About, BlockQuery, Blocklist, Iq, PictureAnswer, PictureSize, ProfileQuery, StatusAudience,
        UsyncAnswer, UsyncQuery,
        business::{self, BusinessProfile, Catalogue},
        presence, privacy_change, privacy_query, read_picture_set, read_privacy,
    },
    store::{people::Number, profiles::Profile},
    wire::{Jid, Node},
};

use super::{OWN_ABOUT, modest};

/// Something to be done with profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileCommand {
    /// What the account shows of itself, and its devices: kept in the store.
    Own,
    /// What somebody shows, the picture's address included: kept in the store.
    Person(Recipient),
    /// Where a picture is.
    Picture {
        /// Whose: a person's or a group's.
        of: Recipient,
        /// The small one.
        preview: bool,
    },
    /// Another picture.
    SetPicture {
        /// Of this group; of the account where none is named.
        of: Option<Jid>,
        /// A JPEG.
        jpeg: Vec<u8>,
    },
    /// No picture.
    RemovePicture {
        /// Of this group; of the account where none is named.
        of: Option<Jid>,
    },
    /// Another text about the account; may be empty.
    SetAbout(String),
    /// The privacy settings.
    Privacy,
    /// Other privacy settings; what is not named stays.
    SetPrivacy {
        /// WhatsApp's names and values.
        settings: Vec<(String, String)>,
        /// Messages of new chats disappear after so many seconds; 0: never.
        timer: Option<u32>,
    },
    /// The block list anew: kept in the store.
    Blocklist,
    /// Somebody is blocked, or not any more.
    Block {
        /// Who.
        who: Recipient,
        /// From now on.
        block: bool,
    },
    /// A business and the first page of its catalogue.
    Business(Recipient),
    /// Another page.
    Catalogue {
        /// Whose.
        of: Recipient,
        /// Where it begins.
        after: String,
    },
    /// Somebody's coming and going is followed from now on.
    Watch(Recipient),
    /// It is not any more.
    Unwatch(Recipient),
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureView {
    /// Changes with the picture.
    pub id: String,
    /// To be fetched as it is, for some days.
    pub url: String,
}

/// The account's privacy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrivacyView {
    /// WhatsApp's names and values.
    pub settings: Vec<(String, String)>,
    /// Messages of new chats disappear after so many seconds; 0: never.
    pub timer: u32,
    /// Who sees statuses.
    pub statuses: Option<StatusAudience>,
}

/// A business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusinessView {
    /// Its address; by number where it is known.
    pub jid: Option<Jid>,
    /// As WhatsApp has verified it.
    pub verified_name: Option<String>,
    /// What it says of itself.
    pub profile: BusinessProfile,
    /// A page of what it sells.
    pub catalogue: Catalogue,
}

/// What came of a [`ProfileCommand`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileAnswer {
    /// Done, or kept in the store.
    Done,
    /// To `Picture`; `None`: there is none, or it is not for the account.
    Picture(Option<PictureView>),
    /// To `SetPicture`: its id, if WhatsApp said it.
    PictureSet(Option<String>),
    /// To `Privacy` and `SetPrivacy`.
    Privacy(Box<PrivacyView>),
    /// To `Business`; `None`: it is none.
    Business(Option<Box<BusinessView>>),
    /// To `Catalogue`.
    Catalogue(Catalogue),
    /// To `Watch`: as many are followed as may be.
    TooMany,
}

/// One query of a command.
#[derive(Debug)]
enum Stage {
    Query(ProfileQuery),
    /// These protocols of usync, about this person.
    About(Jid, &'static [&'static str], Option<Vec<u8>>),
    OwnDevices(Vec<Jid>),
    Privacy,
    SetPrivacy(String, String),
    Blocks(BlockQuery),
    Business(Jid),
    Catalogue(Jid, Option<String>),
}

/// A command under way.
#[derive(Debug)]
pub(in crate::account) struct ProfileWork {
    command: ProfileCommand,
    asked: Stage,
    rest: VecDeque<Stage>,
    found: Found,
}

/// What the stages brought so far.
#[derive(Debug, Default)]
struct Found {
    profile: Profile,
    picture: Option<PictureView>,
    picture_set: Option<String>,
    privacy: PrivacyView,
    business: BusinessView,
    is_business: bool,
}

impl ProfileWork {
    fn go(command: ProfileCommand, mut rest: VecDeque<Stage>, found: Found) -> Next {
        let Some(asked) = rest.pop_front() else { return Next::Done(Told::Profile(answer(command, found))) };
        let build: Box<dyn FnOnce(&str) -> Node> = match &asked {
            Stage::Query(query) => {
                let query = query.clone();
                Box::new(move |id| query.build(id))
            }
            Stage::About(person, what, token) => {
                let query = UsyncQuery::profiles(String::new(), [person.clone()], what);
                let token = token.clone();
                Box::new(move |id| UsyncQuery { sid: id.to_owned(), token, ..query }.build(id))
            }
            Stage::OwnDevices(own) => {
                let own = own.clone();
                Box::new(move |id| UsyncQuery::devices(id.to_owned(), own).build(id))
            }
            Stage::Privacy => Box::new(privacy_query),
            Stage::SetPrivacy(name, value) => {
                let (name, value) = (name.clone(), value.clone());
                Box::new(move |id| privacy_change(id, &name, &value))
            }
            Stage::Blocks(query) => {
                let query = query.clone();
                Box::new(move |id| query.build(id))
            }
            Stage::Business(of) => {
                let of = of.clone();
                Box::new(move |id| business::profile_query(id, &of))
            }
            Stage::Catalogue(of, after) => {
                let (of, after) = (of.clone(), after.clone());
                Box::new(move |id| business::catalogue_query(id, &of, after.as_deref()))
            }
        };
        Next::query(build, Step::Profile(Box::new(Self { command, asked, rest, found })))
    }
}

/// What a caller is told when everything was asked.
fn answer(command: ProfileCommand, found: Found) -> ProfileAnswer {
    match command {
        ProfileCommand::Own
        | ProfileCommand::Person(_)
        | ProfileCommand::RemovePicture { .. }
        | ProfileCommand::SetAbout(_)
        | ProfileCommand::Blocklist
        | ProfileCommand::Block { .. }
        | ProfileCommand::Watch(_)
        | ProfileCommand::Unwatch(_) => ProfileAnswer::Done,
        ProfileCommand::Picture { .. } => ProfileAnswer::Picture(found.picture),
        ProfileCommand::SetPicture { .. } => ProfileAnswer::PictureSet(found.picture_set),
        ProfileCommand::Privacy | ProfileCommand::SetPrivacy { .. } => {
            ProfileAnswer::Privacy(Box::new(found.privacy))
        }
        ProfileCommand::Business(_) => {
            ProfileAnswer::Business(found.is_business.then(|| Box::new(found.business)))
        }
        ProfileCommand::Catalogue { .. } => ProfileAnswer::Catalogue(found.business.catalogue),
    }
}

/// What is asked of a person in one go.
const SHOWN: &[&str] = &["status", "business"];
const OWN_SHOWN: &[&str] = &["status"];
const TIMER: &[&str] = &["disappearing_mode"];

impl Account {
    pub(in crate::account) fn profile_asked(
        &mut self,
        command: ProfileCommand,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, Error> {
        let mut stages = VecDeque::new();
        let mut found = Found::default();
        match &command {
            ProfileCommand::Own => {
                let own = [self.own_pn(), self.own_lid()];
                stages.push_back(Stage::OwnDevices(own.into_iter().flatten().take(1).collect()));
                stages.extend(self.own_pn().map(|own| Stage::About(own, OWN_SHOWN, None)));
            }
            ProfileCommand::Person(who) => {
                let person = self.person(who, turn)?;
                stages.push_back(self.about(&person, turn)?);
                stages.push_back(self.picture(person, PictureSize::Image, turn)?);
            }
            ProfileCommand::Picture { of, preview } => {
                let size = if *preview { PictureSize::Preview } else { PictureSize::Image };
                stages.push_back(self.picture(self.person(of, turn)?, size, turn)?);
            }
            ProfileCommand::SetPicture { of, jpeg } => {
                let query = ProfileQuery::SetPicture { of: of.clone(), jpeg: Some(jpeg.clone()) };
                stages.push_back(Stage::Query(query));
            }
            ProfileCommand::RemovePicture { of } => {
                stages.push_back(Stage::Query(ProfileQuery::SetPicture { of: of.clone(), jpeg: None }));
            }
            ProfileCommand::SetAbout(text) => {
                stages.push_back(Stage::Query(ProfileQuery::SetAbout(text.clone())));
            }
            ProfileCommand::Privacy => stages.extend(self.privacy_stages()),
            ProfileCommand::SetPrivacy { settings, timer } => {
                let one = |(name, value): &(String, String)| Stage::SetPrivacy(name.clone(), value.clone());
                stages.extend(settings.iter().map(one));
                stages.extend(timer.map(|timer| Stage::Query(ProfileQuery::SetTimer(timer))));
                stages.extend(self.privacy_stages());
            }
            ProfileCommand::Blocklist => stages.push_back(Stage::Blocks(BlockQuery::List)),
            ProfileCommand::Block { who, block } => {
                let person = self.person(who, turn)?;
                if self.is_own(&person) {
                    return Ok(Err(AskError::Refused(400)));
                }
                let other = turn.tx.people().other_name(&person)?;
                let names = [Some(&person), other.as_ref()];
                let find = |wanted: fn(&Jid) -> bool| names.into_iter().flatten().find(|name| wanted(name));
                let change = BlockQuery::Change {
                    who: find(Jid::is_lid).unwrap_or(&person).clone(),
                    pn: find(Jid::is_pn).cloned(),
                    block: *block,
                };
                stages.push_back(Stage::Blocks(change));
                // What came of it: another device may have changed it, too.
                stages.push_back(Stage::Blocks(BlockQuery::List));
            }
            ProfileCommand::Business(who) => {
                let person = self.person(who, turn)?;
                found.business.jid = Some(self.number_first(&person, turn)?);
                stages.push_back(self.about(&person, turn)?);
                stages.push_back(Stage::Business(person.clone()));
                stages.push_back(Stage::Catalogue(person, None));
            }
            ProfileCommand::Catalogue { of, after } => {
                stages.push_back(Stage::Catalogue(self.person(of, turn)?, Some(after.clone())));
            }
            ProfileCommand::Watch(who) => {
                let person = self.person(who, turn)?;
                if !turn.tx.watched().add(&person, turn.now)? {
                    return Ok(Ok(Next::Done(Told::Profile(ProfileAnswer::TooMany))));
                }
                self.watch(&person, turn)?;
            }
            ProfileCommand::Unwatch(who) => {
                let person = self.person(who, turn)?;
                if !turn.tx.watched().remove(&person)? {
                    return Ok(Err(AskError::Unknown));
                }
                if let Some(target) = self.target(&person, turn)? {
                    turn.send(&presence::unsubscribe(&target));
                }
            }
        }
        Ok(Ok(ProfileWork::go(command, stages, found)))
    }

    /// What a person says about themselves, asked with their token where the server wants it.
    fn about(&self, person: &Jid, turn: &Turn<'_>) -> Result<Stage, Error> {
        let token = if self.props.on_abouts() { self.shown_token(person, turn)? } else { None };
        Ok(Stage::About(person.clone(), SHOWN, token))
    }

    /// Where a picture is, asked with the person's token unless the server does not want it.
    fn picture(&self, of: Jid, size: PictureSize, turn: &Turn<'_>) -> Result<Stage, Error> {
        let token = if self.props.on_pictures() { self.shown_token(&of, turn)? } else { None };
        Ok(Stage::Query(ProfileQuery::Picture { of, size, known: None, token }))
    }

    fn privacy_stages(&self) -> Vec<Stage> {
        let mut stages = vec![Stage::Privacy, Stage::Query(ProfileQuery::StatusPrivacy)];
        stages.extend(self.own_pn().map(|own| Stage::About(own, TIMER, None)));
        stages
    }

    /// Whom a caller means, by number where it is known; bare. Groups as they are.
    fn person(&self, who: &Recipient, turn: &Turn<'_>) -> Result<Jid, Error> {
        let named = who.known_as(turn.tx, turn.now)?;
        if named.is_pn()
            && let Number::Registered(jid) = turn.tx.people().number(named.user(), turn.now)?
        {
            return Ok(jid.bare());
        }
        self.number_first(&named, turn)
    }

    pub(in crate::account) fn profile_told(
        &mut self,
        work: ProfileWork,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, Error> {
        let ProfileWork { command, asked, rest, mut found } = work;
        if let Some(error) = refused(&asked, node) {
            return Ok(Err(error));
        }
        let mut rest = rest;
        match asked {
            Stage::Query(ProfileQuery::Picture { of, .. }) => match PictureAnswer::parse(node) {
                PictureAnswer::Found(picture) => {
                    let (id, url) = (modest(picture.id), modest(picture.url));
                    found.picture = id.zip(url).map(|(id, url)| PictureView { id, url });
                }
                PictureAnswer::Refused(code) => return Ok(Err(AskError::Refused(code))),
                PictureAnswer::Hidden if of.is_group() => return Ok(Err(AskError::Unknown)),
                PictureAnswer::Missing | PictureAnswer::Hidden | PictureAnswer::Unchanged => {}
            },
            Stage::Query(ProfileQuery::SetPicture { .. }) => found.picture_set = read_picture_set(node),
            Stage::Query(ProfileQuery::SetAbout(text)) => turn.tx.settings().set(OWN_ABOUT, &text)?,
            Stage::Query(ProfileQuery::SetTimer(_)) => {}
            Stage::Query(ProfileQuery::StatusPrivacy) => {
                found.privacy.statuses = Some(StatusAudience::parse(node));
            }
            Stage::About(person, what, _) => {
                let answers = UsyncAnswer::parse_all(node).unwrap_or_default();
                let told = answers.into_iter().find(|answer| {
                    answer.jid.same_user(&person)
                        || answer.pn.as_ref().is_some_and(|pn| pn.same_user(&person))
                });
                let told = told.map(|answer| answer.profile).unwrap_or_default();
                let about = match told.about {
                    Some(About::Text(text)) => modest(text),
                    Some(About::Hidden) | None => None,
                };
                if let (true, Some(about)) = (what == OWN_SHOWN, &about) {
                    turn.tx.settings().set(OWN_ABOUT, about)?;
                }
                found.privacy.timer = told.timer.unwrap_or(0);
                found.profile.about = about.filter(|about| !about.is_empty());
                found.profile.business = told.business.is_some();
                let name = told.business.as_deref().and_then(business::verified_name);
                found.profile.verified_name = name.and_then(modest);
                found.business.verified_name.clone_from(&found.profile.verified_name);
            }
            Stage::OwnDevices(own) => self.devices_answered(&own, node, turn)?,
            Stage::Privacy => {
                found.privacy.settings = read_privacy(node);
                self.learn_privacy(&found.privacy.settings, turn)?;
            }
            Stage::SetPrivacy(..) => self.learn_privacy(&read_privacy(node), turn)?,
            Stage::Blocks(BlockQuery::Change { .. }) => {}
            Stage::Blocks(BlockQuery::List) => match Blocklist::parse(node) {
                Ok(list) => self.keep_blocklist(&list, turn)?,
                Err(_) => return Ok(Err(AskError::Internal)),
            },
            Stage::Business(_) => match BusinessProfile::parse(node) {
                Some(profile) => {
                    found.is_business = true;
                    found.business.profile = profile;
                }
                // Nor has it anything to sell.
                None => rest.clear(),
            },
            Stage::Catalogue(..) => found.business.catalogue = Catalogue::parse(node),
        }
        if let (ProfileCommand::Person(who), true) = (&command, rest.is_empty()) {
            found.profile.picture_url = found.picture.as_ref().map(|picture| picture.url.clone());
            found.profile.fetched_at = turn.now;
            turn.tx.profiles().set(&self.person(who, turn)?, &found.profile)?;
        }
        Ok(Ok(ProfileWork::go(command, rest, found)))
    }
}

/// Whether a refusal ends the command; some are answers like others.
fn refused(asked: &Stage, node: &Node) -> Option<AskError> {
    let code = Iq::refusal(node)?.code;
    match (asked, code) {
        (Stage::Query(ProfileQuery::Picture { .. }), _) => None,
        // Nothing was ever chosen; a business without a catalogue.
        (Stage::Query(ProfileQuery::StatusPrivacy), 404) => None,
        (Stage::Catalogue(_, None), 401 | 403 | 404) => None,
        (Stage::Query(ProfileQuery::SetPicture { of: Some(_), .. }), 404) => Some(AskError::Unknown),
        _ => Some(AskError::Refused(code)),
    }
}
