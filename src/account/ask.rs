//! What callers ask of the server: now or not at all, with one query or a few in a row; the answer follows the last.
//! Nothing of it is kept, so what the connection takes along is not done.
//!
//! An area adds its command to [`Question`], its answer to [`Told`], what it keeps between two queries to [`Step`], and
//! two functions that say what is [`Next`]: after the question, and after the server's answer.

use super::{
    Answer, CallCommand, Error, Status, Ticket,
    communities::{CommunityAnswer, CommunityCommand, CommunityWork},
    dispatch::{Account, Effect, Turn},
    groups::{GroupAnswer, GroupCommand, GroupWork},
    link::Query,
    newsletters::{NewsletterAnswer, NewsletterCommand},
    profile::{ProfileAnswer, ProfileCommand, ProfileWork},
};
use crate::wire::Node;

/// What is asked, by area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Something with groups.
    Group(GroupCommand),
    /// Something with a call.
    Call(CallCommand),
    /// Something with profiles, privacy, presence or businesses.
    Profile(ProfileCommand),
    /// Something with communities.
    Community(CommunityCommand),
    /// Something with newsletters.
    Newsletter(NewsletterCommand),
}

/// What came of a [`Question`], by area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// To [`Question::Group`].
    Group(GroupAnswer),
    /// To [`Question::Call`]: done.
    Call(()),
    /// To [`Question::Profile`].
    Profile(ProfileAnswer),
    /// To [`Question::Community`].
    Community(CommunityAnswer),
    /// To [`Question::Newsletter`].
    Newsletter(NewsletterAnswer),
}

/// Why a [`Question`] has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nothing was done.
    #[error("the instance is not connected")]
    NotConnected(Status),
    /// There is no such thing, or the account may not see it.
    #[error("no such thing")]
    Unknown,
    /// WhatsApp said no, with this code.
    #[error("WhatsApp refused")]
    Refused(u16),
    /// A fault of ours, or an answer that cannot be read.
    #[error("internal error")]
    Internal,
}

/// Ties the command of an area to its answer.
pub trait Ask: Into<Question> + Send {
    /// What comes of it.
    type Told;
    /// The answer, if it is one to a question of this area.
    fn told(told: Told) -> Option<Self::Told>;
}

/// An area's command is one of the questions, and its answer one of the answers.
macro_rules! area {
    ($area:ident: $command:ty => $told:ty) => {
        impl From<$command> for Question {
            fn from(command: $command) -> Self {
                Self::$area(command)
            }
        }

        impl Ask for $command {
            type Told = $told;

            fn told(told: Told) -> Option<$told> {
                match told {
                    Told::$area(answer) => Some(answer),
                    _ => None,
                }
            }
        }
    };
}

area!(Group: GroupCommand => GroupAnswer);
area!(Call: CallCommand => ());
area!(Profile: ProfileCommand => ProfileAnswer);
area!(Community: CommunityCommand => CommunityAnswer);
area!(Newsletter: NewsletterCommand => NewsletterAnswer);

/// What the answer to a query is for, by area.
#[derive(Debug)]
pub(super) enum Step {
    Group(Box<GroupWork>),
    Profile(Box<ProfileWork>),
    Newsletter(Box<NewsletterCommand>),
    Community(Box<CommunityWork>),
}

/// A query that a caller waits for.
#[derive(Debug)]
pub(super) struct Asked {
    ticket: Ticket,
    step: Step,
}

/// How a question goes on.
pub(super) enum Next {
    /// With this stanza, made for a query id; what its answer is for.
    Query(Box<dyn FnOnce(&str) -> Node>, Step),
    /// Not at all: this came of it.
    Done(Told),
}

impl Next {
    pub(super) fn query(build: impl FnOnce(&str) -> Node + 'static, step: Step) -> Self {
        Self::Query(Box::new(build), step)
    }
}

/// A question goes on, or ends with a refusal.
pub(super) type Outcome = Result<Next, AskError>;

impl Account {
    pub(super) fn ask(
        &mut self,
        ticket: Ticket,
        question: Question,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let outcome = if self.can_send() {
            match question {
                Question::Group(command) => self.group_asked(command, turn)?,
                Question::Call(command) => self.call_asked(&command, turn)?,
                Question::Profile(command) => self.profile_asked(command, turn)?,
                Question::Community(command) => self.community_asked(command, turn)?,
                Question::Newsletter(command) => self.newsletter_asked(command, turn)?,
            }
        } else {
            Err(AskError::NotConnected(self.link.status))
        };
        self.go_on(ticket, outcome, turn);
        Ok(())
    }

    pub(super) fn ask_answered(
        &mut self,
        asked: Asked,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let outcome = match asked.step {
            Step::Group(work) => self.group_told(*work, node, turn)?,
            Step::Profile(work) => self.profile_told(*work, node, turn)?,
            Step::Community(work) => self.community_told(*work, node, turn)?,
            Step::Newsletter(command) => self.newsletter_told(*command, node, turn)?,
        };
        self.go_on(asked.ticket, outcome, turn);
        Ok(())
    }

    /// The connection is gone, and the question with it.
    pub(super) fn ask_lost(asked: &Asked, turn: &mut Turn<'_>) {
        let lost = Err(AskError::NotConnected(Status::Offline));
        turn.effects.push(Effect::Answer(asked.ticket, Answer::Asked(lost)));
    }

    fn go_on(&mut self, ticket: Ticket, outcome: Outcome, turn: &mut Turn<'_>) {
        let answer = match (outcome, &mut self.conn) {
            (Ok(Next::Query(build, step)), Some(conn)) => {
                let id = conn.query(Query::Asked(Asked { ticket, step }), turn.now);
                turn.send(&build(&id));
                return;
            }
            (Ok(Next::Query(..)), None) => Err(AskError::NotConnected(self.link.status)),
            (Ok(Next::Done(told)), _) => Ok(told),
            (Err(error), _) => Err(error),
        };
        turn.effects.push(Effect::Answer(ticket, Answer::Asked(answer)));
    }
}
