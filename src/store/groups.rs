//! Groups as the server describes them, and their members; and to whom a status went.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx, device::jid, sql, unsql};
use crate::{clock::Millis, wire::Jid};

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Take part.
    Member = 0,
    /// Also manage.
    Admin = 1,
    /// Made the group.
    SuperAdmin = 2,
}

impl Role {
    fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Admin,
            2 => Self::SuperAdmin,
            _ => Self::Member,
        }
    }
}

/// A group without its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its address.
    pub jid: Jid,
    /// Its name.
    pub subject: String,
    /// What it says of itself.
    pub description: Option<String>,
    /// Names the present description.
    pub description_id: Option<String>,
    /// Who made it, as far as the server says.
    pub owner: Option<Jid>,
    /// Unix seconds.
    pub created: u64,
    /// Members are addressed by LID, not by number.
    pub by_lid: bool,
    /// Only admins write.
    pub announce: bool,
    /// Only admins change subject and description.
    pub locked: bool,
    /// Seconds after which messages disappear; 0: never.
    pub ephemeral: u32,
    /// Only admins add members.
    pub admins_add: bool,
    /// Admins approve who joins by link.
    pub approval: bool,
    /// The account takes part.
    pub member: bool,
    /// It is a community of groups.
    pub community: bool,
    /// The community that it belongs to.
    pub parent: Option<Jid>,
    /// In it the community's admins write to everybody.
    pub announcements: bool,
    /// When the server was last asked; 0: it has to be asked again.
    pub fetched_at: Millis,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// As the group names it.
    pub jid: Jid,
    /// What it may do.
    pub role: Role,
    /// When the account learned of it; 0: it was there before the account looked.
    pub since: Millis,
}

/// Access to groups.
pub struct Groups<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Groups and their members.
    pub fn groups(&self) -> Groups<'_> {
        Groups(self)
    }
}

const GROUP: &str =
    "SELECT jid, subject, description, description_id, owner, created, by_lid, announce, locked,
    ephemeral, admins_add, approval, member, fetched_at, community, parent, announcements FROM group_info";

fn group(row: &Row<'_>) -> rusqlite::Result<Group> {
    Ok(Group {
        jid: jid(row.get(0)?)?,
        subject: row.get(1)?,
        description: row.get(2)?,
        description_id: row.get(3)?,
        owner: row.get::<_, Option<String>>(4)?.map(jid).transpose()?,
        created: unsql(row.get(5)?),
        by_lid: row.get(6)?,
        announce: row.get(7)?,
        locked: row.get(8)?,
        ephemeral: row.get(9)?,
        admins_add: row.get(10)?,
        approval: row.get(11)?,
        member: row.get(12)?,
        fetched_at: Millis(unsql(row.get(13)?)),
        community: row.get(14)?,
        parent: row.get::<_, Option<String>>(15)?.map(jid).transpose()?,
        announcements: row.get(16)?,
    })
}

impl Groups<'_> {
    /// A group, if it is known.
    pub fn find(&self, group: &Jid) -> Result<Option<Group>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!("{GROUP} WHERE jid = ?1"))?;
        Ok(statement.query_row([group.to_wire()], self::group).optional()?)
    }

    /// Keeps a group as it is now; its members are kept apart.
    pub fn set(&self, group: &Group) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT INTO group_info (jid, subject, description, description_id, owner, created, by_lid,
                     announce, locked, ephemeral, admins_add, approval, member, fetched_at, community,
                     parent, announcements)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
                 ON CONFLICT (jid) DO UPDATE SET subject = excluded.subject, description = excluded.description,
                     description_id = excluded.description_id, owner = excluded.owner,
                     created = excluded.created, by_lid = excluded.by_lid, announce = excluded.announce,
                     locked = excluded.locked, ephemeral = excluded.ephemeral,
                     admins_add = excluded.admins_add, approval = excluded.approval,
                     member = excluded.member, fetched_at = excluded.fetched_at,
                     community = excluded.community, parent = excluded.parent,
                     announcements = excluded.announcements",
            )?
            .execute(params![
                group.jid.to_wire(),
                group.subject,
                group.description,
                group.description_id,
                group.owner.as_ref().map(Jid::to_wire),
                sql(group.created),
                group.by_lid,
                group.announce,
                group.locked,
                group.ephemeral,
                group.admins_add,
                group.approval,
                group.member,
                sql(group.fetched_at.0),
                group.community,
                group.parent.as_ref().map(Jid::to_wire),
                group.announcements,
            ])?;
        Ok(())
    }

    /// Before the next send the server is asked again.
    pub fn make_stale(&self, group: &Jid) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE group_info SET fetched_at = 0 WHERE jid = ?1")?
            .execute([group.to_wire()])?;
        Ok(())
    }

    /// The same for every group.
    pub fn make_all_stale(&self) -> Result<(), Error> {
        self.0.conn().prepare_cached("UPDATE group_info SET fetched_at = 0")?.execute([])?;
        Ok(())
    }

    /// The account takes part in it, or no longer.
    pub fn set_member(&self, group: &Jid, member: bool) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE group_info SET member = ?2 WHERE jid = ?1")?
            .execute(params![group.to_wire(), member])?;
        Ok(())
    }

    /// All members, in the order of their addresses.
    pub fn participants(&self, group: &Jid) -> Result<Vec<Participant>, Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached("SELECT jid, role, since FROM participant WHERE chat = ?1 ORDER BY jid")?;
        let rows = statement.query_map([group.to_wire()], |row| {
            Ok(Participant {
                jid: jid(row.get(0)?)?,
                role: Role::from_code(row.get(1)?),
                since: Millis(unsql(row.get(2)?)),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A member, by either name.
    pub fn participant(&self, group: &Jid, who: &Jid) -> Result<Option<Participant>, Error> {
        let other = self.0.people().other_name(who)?;
        let names = [Some(who.bare()), other];
        let all = self.participants(group)?;
        Ok(all.into_iter().find(|member| names.iter().flatten().any(|name| *name == member.jid)))
    }

    /// Replaces the members by these. Whoever was one before stays one since then.
    pub fn set_participants(&self, group: &Jid, members: &[(Jid, Role)], now: Millis) -> Result<(), Error> {
        let before = self.participants(group)?;
        // What was there at the first look was there before it.
        let news = if before.is_empty() { Millis(0) } else { now };
        let conn = self.0.conn();
        conn.prepare_cached("DELETE FROM participant WHERE chat = ?1")?.execute([group.to_wire()])?;
        let mut insert = conn.prepare_cached(
            "INSERT OR REPLACE INTO participant (chat, jid, role, since) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for (jid, role) in members {
            let since = before.iter().find(|member| member.jid == *jid).map_or(news, |member| member.since);
            insert.execute(params![group.to_wire(), jid.bare().to_wire(), *role as u8, sql(since.0)])?;
        }
        Ok(())
    }

    /// Adds a member, or changes what it may do.
    pub fn put_participant(&self, group: &Jid, who: &Jid, role: Role, now: Millis) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT INTO participant (chat, jid, role, since) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (chat, jid) DO UPDATE SET role = excluded.role",
            )?
            .execute(params![group.to_wire(), who.bare().to_wire(), role as u8, sql(now.0)])?;
        Ok(())
    }

    /// Takes a member out, by either name.
    pub fn remove_participant(&self, group: &Jid, who: &Jid) -> Result<(), Error> {
        let Some(member) = self.participant(group, who)? else { return Ok(()) };
        self.0
            .conn()
            .prepare_cached("DELETE FROM participant WHERE chat = ?1 AND jid = ?2")?
            .execute([group.to_wire(), member.jid.to_wire()])?;
        Ok(())
    }

    /// Whom a status of the account goes to.
    pub fn set_audience(&self, status: &str, people: &[Jid]) -> Result<(), Error> {
        let mut insert = self
            .0
            .conn()
            .prepare_cached("INSERT OR IGNORE INTO status_audience (wa_id, person) VALUES (?1, ?2)")?;
        for person in people {
            insert.execute([status, &person.bare().to_wire()])?;
        }
        Ok(())
    }

    /// Whom a status of the account went to.
    pub fn audience(&self, status: &str) -> Result<Vec<Jid>, Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached("SELECT person FROM status_audience WHERE wa_id = ?1 ORDER BY person")?;
        let rows = statement.query_map([status], |row| jid(row.get(0)?))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Everybody the account has a chat with or has heard the name of, by either name, without groups.
    pub fn everybody(&self) -> Result<Vec<Jid>, Error> {
        let mut statement =
            self.0.conn().prepare_cached("SELECT jid FROM chat UNION SELECT jid FROM contact")?;
        let rows = statement.query_map([], |row| jid(row.get(0)?))?;
        let all: Vec<Jid> = rows.collect::<Result<_, _>>()?;
        Ok(all.into_iter().filter(Jid::is_user).collect())
    }
}
