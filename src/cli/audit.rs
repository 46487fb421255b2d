//! `wazap audit`: who did what to the access of one instance. Works beside a running one.

use super::{
    Console, Failure, block_on,
    token::{Folder, open},
};
use crate::store::access::{AUDIT_KEPT, AuditRow};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    folder: Folder,
    /// Lines at most; the newest 10,000 are kept
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=AUDIT_KEPT as i64))]
    last: u32,
}

/// The newest lines, oldest first.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let store = open(args.folder)?;
    block_on(async move {
        let rows = store.read(move |tx| Ok::<_, Failure>(tx.audit().newest(args.last)?)).await?;
        for row in rows.iter().rev() {
            Console::stdout().line(&line(row));
        }
        store.close().await;
        Ok(())
    })
}

fn line(row: &AuditRow) -> String {
    let detail = if row.detail.is_empty() { "-" } else { &row.detail };
    format!("{}\t{}\t{}\t{detail}", row.at.rfc3339(), row.actor, row.action)
}
