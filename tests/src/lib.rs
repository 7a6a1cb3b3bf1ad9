//! Runs real `synckairos` processes on loopback and looks at them from outside: HTTP, WebSocket,
//! signals, files and a network whose links can be cut.

pub mod binary;
pub mod certificates;
pub mod chance;
pub mod client_load;
pub mod cluster;
pub mod command_line;
pub mod events;
pub mod home;
pub mod http;
pub mod links;
pub mod load;
pub mod members;
pub mod node;
pub mod ordered;
pub mod ports;
pub mod process;
pub mod restored;
pub mod sessions;
pub mod shared;
pub mod small_disk;
pub mod socket;
pub mod timeline;
pub mod wait;
