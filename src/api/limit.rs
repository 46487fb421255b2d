//! The rate limit (instance-api.md §5): fixed windows, one bucket a token, one an address that fails to authenticate.
//! Pure: the time is an argument.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use crate::clock::Millis;

/// Addresses remembered at once; beyond that, the window that began first is forgotten. Some 100 bytes each.
const ADDRESSES: usize = 10_000;
/// Tokens remembered at once. Only good tokens are counted, so that this is far above what anybody has.
const TOKENS: usize = 10_000;

/// What is left in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    pub(super) window_seconds: u64,
    /// End of the window, Unix seconds.
    pub(super) reset: u64,
    /// `Some`: this request is one too many; whole seconds to the end of the window, at least 1.
    pub(super) retry_after: Option<u64>,
}

/// One requester's window.
#[derive(Clone, Copy)]
struct Window {
    began: Millis,
    used: u32,
}

/// All buckets.
pub(super) struct Limits {
    requests: u32,
    window: Duration,
    tokens: HashMap<i64, Window>,
    addresses: HashMap<IpAddr, Window>,
}

impl Limits {
    pub(super) fn new(requests: u32, window: Duration) -> Self {
        Self { requests, window, tokens: HashMap::new(), addresses: HashMap::new() }
    }

    /// Counts a request with a good token.
    pub(super) fn request(&mut self, token: i64, now: Millis) -> Quota {
        take(&mut self.tokens, token, TOKENS, self.requests, self.window, now)
    }

    /// Counts a request whose authentication failed.
    pub(super) fn failure(&mut self, address: IpAddr, now: Millis) -> Quota {
        take(&mut self.addresses, client(address), ADDRESSES, self.requests, self.window, now)
    }
}

/// One subscriber usually has a whole /64, and so counts as one client.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

fn take<K: Copy + Eq + Hash>(
    buckets: &mut HashMap<K, Window>,
    key: K,
    bound: usize,
    limit: u32,
    length: Duration,
    now: Millis,
) -> Quota {
    // A clock that was set back must not stretch a window.
    let over = |window: &Window| now < window.began || now.since(window.began) >= length;
    if !buckets.contains_key(&key) && buckets.len() >= bound {
        buckets.retain(|_, window| !over(window));
        if buckets.len() >= bound {
            let oldest = buckets.iter().min_by_key(|(_, window)| window.began).map(|(key, _)| *key);
            oldest.and_then(|oldest| buckets.remove(&oldest));
        }
    }
    let window = buckets.entry(key).or_insert(Window { began: now, used: 0 });
    if over(window) {
        *window = Window { began: now, used: 0 };
    }
    let ends = window.began + length;
    let within = window.used < limit;
    if within {
        window.used += 1;
    }
    Quota {
        limit,
        remaining: limit - window.used,
        window_seconds: length.as_secs(),
        reset: ends.0.div_ceil(1000),
        retry_after: (!within).then(|| ends.since(now).as_millis().div_ceil(1000).max(1) as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::{ADDRESSES, Limits, Millis};
    use std::{net::IpAddr, time::Duration};

    const START: Millis = Millis(1_767_115_800_250);

    fn limits() -> Limits {
        Limits::new(100, Duration::from_secs(900))
    }

    #[test]
    fn the_window_starts_with_the_first_request_and_lasts_its_length() {
        let mut limits = limits();
        let first = limits.request(1, START);
        assert_eq!((first.remaining, first.retry_after), (99, None));
        assert_eq!(first.reset, 1_767_116_701);
        for _ in 1..99 {
            limits.request(1, START + Duration::from_secs(600));
        }
        let hundredth = limits.request(1, START + Duration::from_secs(899));
        assert_eq!((hundredth.remaining, hundredth.retry_after), (0, None));
        let refused = limits.request(1, START + Duration::from_millis(899_999));
        assert_eq!((refused.remaining, refused.retry_after), (0, Some(1)));
        assert_eq!(limits.request(1, START + Duration::from_secs(500)).retry_after, Some(400));
        let next = limits.request(1, START + Duration::from_secs(900));
        assert_eq!((next.remaining, next.retry_after), (99, None));
    }

    #[test]
    fn tokens_and_addresses_have_buckets_of_their_own() {
        let mut limits = limits();
        let address: IpAddr = "203.0.113.9".parse().unwrap();
        for _ in 0..101 {
            limits.request(1, START);
            limits.failure(address, START);
        }
        assert!(limits.request(1, START).retry_after.is_some());
        assert!(limits.failure(address, START).retry_after.is_some());
        assert_eq!(limits.request(2, START).remaining, 99);
        assert_eq!(limits.failure("203.0.113.10".parse().unwrap(), START).remaining, 99);
    }

    #[test]
    fn a_subscriber_cannot_hide_in_a_network_of_his_own() {
        let mut limits = limits();
        limits.failure("2001:db8:1:2::1".parse().unwrap(), START);
        assert_eq!(limits.failure("2001:db8:1:2:ffff::9".parse().unwrap(), START).remaining, 98);
        assert_eq!(limits.failure("2001:db8:1:3::1".parse().unwrap(), START).remaining, 99);
        limits.failure("::ffff:203.0.113.9".parse().unwrap(), START);
        assert_eq!(limits.failure("203.0.113.9".parse().unwrap(), START).remaining, 98);
    }

    #[test]
    fn memory_stays_bounded() {
        let mut limits = limits();
        for n in 0..u32::try_from(ADDRESSES).unwrap() + 50 {
            limits.failure(IpAddr::from(n.to_be_bytes()), START + Duration::from_millis(u64::from(n)));
        }
        assert_eq!(limits.addresses.len(), ADDRESSES);
    }

    #[test]
    fn a_clock_set_back_starts_a_new_window() {
        let mut limits = limits();
        limits.request(1, START);
        assert_eq!(limits.request(1, Millis(START.0 - 86_400_000)).remaining, 99);
    }
}
