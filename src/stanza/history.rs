//! History as a phone announces it (protocol 04, 2): what kinds of it there are, for both ends.

/// `HistorySyncType`: the newest messages of the newest chats.
pub const INITIAL_BOOTSTRAP: i32 = 0;
/// Statuses.
pub const INITIAL_STATUS: i32 = 1;
/// All that there is, for a companion that asked for it when it was linked.
pub const FULL: i32 = 2;
/// The last months.
pub const RECENT: i32 = 3;
/// What people call themselves.
pub const PUSH_NAME: i32 = 4;
/// Former members of groups, calls, stickers, settings.
pub const NON_BLOCKING_DATA: i32 = 5;
/// What a companion asked for.
pub const ON_DEMAND: i32 = 6;
/// There is none.
pub const NO_HISTORY: i32 = 7;
/// Whether the companion may see everything.
pub const MESSAGE_ACCESS_STATUS: i32 = 8;
