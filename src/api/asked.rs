//! Questions to the server that an area of routes asks: what a refusal means there, and the handlers that ask one thing
//! and say that it is done.

use std::pin::Pin;

use axum::{
    extract::{Path, State},
    response::Response,
};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToSend},
    reply,
};
use crate::account::{Ask, AskError};

/// The commands of an area.
pub(super) trait Area: Ask + 'static {
    /// What the server's refusal means where one of them was asked for.
    fn refused(error: AskError) -> ApiError;
    /// Whether the answer is that it is done, and no more.
    fn is_done(told: &Self::Told) -> bool;
}

pub(super) async fn ask<I: Instance, A: Area>(app: &App<I>, command: A) -> Result<A::Told, ApiError> {
    app.parts.instance.ask(command).await.map_err(A::refused)
}

/// The answer of a shape that the command has; any other is a fault of ours.
macro_rules! shape {
    ($answer:expr, $pattern:pat => $value:expr) => {
        match $answer {
            $pattern => $value,
            _ => return Err(ApiError::Internal),
        }
    };
}
pub(super) use shape;

/// What a bare handler asks, and says when it is done.
pub(super) type Bare<A> = Result<(A, &'static str), ApiError>;

type Answering = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;

/// A handler of what its path names, and of nothing else.
pub(super) fn bare<I: Instance, P: Send + 'static, A: Area>(
    of: fn(P) -> Bare<A>,
) -> impl FnOnce(Caller<ToSend>, State<App<I>>, Path<P>) -> Answering + Clone + Send + Sync + 'static {
    move |_, State(app), Path(named)| {
        Box::pin(async move {
            let (command, said) = of(named)?;
            if A::is_done(&ask(&app, command).await?) {
                Ok(reply::done(said))
            } else {
                Err(ApiError::Internal)
            }
        })
    }
}
