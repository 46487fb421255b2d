//! What the API asks of an instance. The driver's handle is one; a story scripts its own.

use std::future::Future;

use tokio::sync::watch;

use crate::{
    account::{
        Ask, AskError, Batched, Evidence, Link, PasskeyCommand, PasskeyState, Recipient, SendBatch,
        SendError, SendMessage, Sent, StateChange,
    },
    daemon::{
        CodeRefused, PasskeyFault, Shown,
        media::{Desk, FileError, Scratch, SendMedia, Source, Stored},
    },
};

pub trait Instance: Clone + Send + Sync + 'static {
    /// The state of the link, and each change of it.
    fn link(&self) -> watch::Receiver<Link>;
    /// Starts linking or connecting; fine in every state.
    fn connect(&self) -> impl Future<Output = ()> + Send;
    /// The same, by a code typed on the phone of this number (digits): the code, once WhatsApp knows it.
    fn pair_by_code(
        &self,
        number: String,
    ) -> impl Future<Output = Result<Option<String>, CodeRefused>> + Send;
    /// Does something about a linking that wants a passkey; where it stands then.
    fn passkey(
        &self,
        command: PasskeyCommand,
    ) -> impl Future<Output = Result<PasskeyState, PasskeyFault>> + Send;
    /// Closes the socket; `logout` also unlinks and wipes.
    fn disconnect(&self, logout: bool) -> impl Future<Output = ()> + Send;
    /// How the link does; `None`: the account does not answer.
    fn evidence(&self) -> impl Future<Output = Option<Evidence>> + Send;
    /// Sends a file.
    fn send_media(&self, send: SendMedia) -> impl Future<Output = Result<Sent, FileError>> + Send;
    /// A picture as profiles have it, made of a caller's image.
    fn portrait(&self, source: Source) -> impl Future<Output = Result<Vec<u8>, FileError>> + Send;
    /// The file of a message.
    fn file(&self, message_id: &str) -> impl Future<Output = Result<Stored, FileError>> + Send;
    /// A place for a file that is coming in.
    fn scratch(&self) -> Scratch;
    /// Shows something of the account, now or not at all.
    fn show(&self, what: Shown) -> impl Future<Output = Result<(), SendError>> + Send;
    /// Changes something of app state; waits for WhatsApp's word as a send does.
    fn change(&self, change: StateChange) -> impl Future<Output = Result<(), SendError>> + Send;
    /// Asks the phone for older messages of a chat; the question's id.
    fn history(&self, chat: Recipient, count: u32) -> impl Future<Output = Result<String, SendError>> + Send;
    /// Asks the server something, now or not at all.
    fn ask<A: Ask>(&self, question: A) -> impl Future<Output = Result<A::Told, AskError>> + Send;
    /// Whether a number has an account; what is learnt of it is kept.
    fn exists(&self, digits: &str) -> impl Future<Output = Result<bool, SendError>> + Send;
    /// Stores, sends, and waits as the contract says.
    fn send_message(&self, command: SendMessage) -> impl Future<Output = Result<Sent, SendError>> + Send;
    /// The same with a preview of the first link in the text, if it can be had.
    fn send_linked(&self, command: SendMessage) -> impl Future<Output = Result<Sent, SendError>> + Send;
    /// Stores many sends; they leave one after the other.
    fn send_batch(&self, batch: SendBatch) -> impl Future<Output = Result<Batched, SendError>> + Send;
}

impl Instance for Desk {
    fn link(&self) -> watch::Receiver<Link> {
        self.handle().link()
    }

    async fn evidence(&self) -> Option<Evidence> {
        self.handle().evidence().await
    }

    async fn connect(&self) {
        self.handle().connect().await;
    }

    async fn pair_by_code(&self, number: String) -> Result<Option<String>, CodeRefused> {
        self.handle().pair_by_code(number).await
    }

    async fn passkey(&self, command: PasskeyCommand) -> Result<PasskeyState, PasskeyFault> {
        self.handle().passkey(command).await
    }

    async fn disconnect(&self, logout: bool) {
        self.handle().disconnect(logout).await;
    }

    async fn send_media(&self, send: SendMedia) -> Result<Sent, FileError> {
        self.send(send).await
    }

    async fn portrait(&self, source: Source) -> Result<Vec<u8>, FileError> {
        Self::portrait(self, source).await
    }

    async fn file(&self, message_id: &str) -> Result<Stored, FileError> {
        Self::file(self, message_id).await
    }

    fn scratch(&self) -> Scratch {
        Self::scratch(self)
    }

    async fn show(&self, what: Shown) -> Result<(), SendError> {
        self.handle().show(what).await
    }

    async fn change(&self, change: StateChange) -> Result<(), SendError> {
        self.handle().change(change).await
    }

    async fn history(&self, chat: Recipient, count: u32) -> Result<String, SendError> {
        self.handle().history(chat, count).await
    }

    async fn ask<A: Ask>(&self, question: A) -> Result<A::Told, AskError> {
        self.handle().ask(question).await
    }

    async fn exists(&self, digits: &str) -> Result<bool, SendError> {
        self.handle().exists(digits).await
    }

    async fn send_message(&self, command: SendMessage) -> Result<Sent, SendError> {
        self.handle().send_message(command).await
    }

    async fn send_linked(&self, command: SendMessage) -> Result<Sent, SendError> {
        Self::send_linked(self, command).await
    }

    async fn send_batch(&self, batch: SendBatch) -> Result<Batched, SendError> {
        self.handle().send_batch(batch).await
    }
}
