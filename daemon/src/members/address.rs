//! Where a node is reached, as operators write it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use synckairos_protocol::limits;

/// `host:port`, the host a name or an IP address, one of version 6 in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    text: String,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address under which others reach a node: write HOST:PORT, like 10.0.0.4:7400 or \
     node-4.example:7400"
)]
pub(crate) struct NotAnAddress(String);

impl Address {
    /// Where to listen so that this address leads there: an IP address is taken to be this host's
    /// own, for a name that is every address of the host.
    pub(crate) fn listen(&self) -> SocketAddr {
        match self.host {
            Host::Ip(ip) => SocketAddr::new(ip, self.port),
            Host::Name => SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port)),
        }
    }

    /// Is it one that only leads back to the host that asks?
    pub(crate) fn is_loopback(&self) -> bool {
        match self.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name => self.text.starts_with("localhost:"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let wrong = || NotAnAddress(text.chars().take(limits::ADDRESS_BYTES_MAX).collect());
        if limits::ADDRESS_BYTES_MAX < text.len() {
            return Err(wrong());
        }
        let (host, port) = if let Ok(address) = text.parse::<SocketAddr>() {
            (Host::Ip(address.ip()), address.port())
        } else {
            let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
            let named = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
            if host.is_empty() || !host.chars().all(named) {
                return Err(wrong());
            }
            (Host::Name, port.parse().map_err(|_| wrong())?)
        };
        let unspecified = matches!(host, Host::Ip(ip) if ip.is_unspecified());
        if port == 0 || unspecified {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let table = [
            ("10.0.0.4:7400", "10.0.0.4:7400", false),
            ("[::1]:7400", "[::1]:7400", true),
            ("127.0.0.1:7400", "127.0.0.1:7400", true),
            ("localhost:7400", "0.0.0.0:7400", true),
            ("node-4.example:7400", "0.0.0.0:7400", false),
        ];
        for (text, listen, loopback) in table {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.listen().to_string(), listen, "{text}");
            assert_eq!(address.is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn what_nobody_can_dial_is_refused() {
        let long = format!("{}:7400", "a".repeat(limits::ADDRESS_BYTES_MAX));
        let wrong = [
            "",
            "10.0.0.4",
            "node-4",
            ":7400",
            "a:",
            "a:0",
            "a:70000",
            "a b:1",
            "0.0.0.0:7400",
            "[::]:7400",
            "::1:7400",
            "http://a:1",
            "a:1\n",
            long.as_str(),
        ];
        for text in wrong {
            let refused = text.parse::<Address>().unwrap_err().to_string();
            assert!(refused.contains("HOST:PORT"), "{text}: {refused}");
        }
    }
}
