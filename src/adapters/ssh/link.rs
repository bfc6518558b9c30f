//! One verified, authenticated connection.

use std::{
    borrow::Cow,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use russh::{
    Channel, ChannelOpenFailure, ChannelStream, Preferred, cipher,
    client::{self, Handle, Msg},
    kex,
    keys::{
        Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use super::{Deadlines, prompt::Prompt};
use crate::{
    ids::HostName,
    inventory::HostEntry,
    ports::remote::{Endpoint, RemoteError},
};

/// A silent connection is asked for a sign of life this often; three in a row
/// without answer, and it is dead.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Curve25519 and AES-GCM first: they are quick everywhere and OpenSSH has had
/// them since 2014.
const KEY_EXCHANGES: &[kex::Name] = &[
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::MLKEM768X25519_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
];

/// A connection to a host.
pub(super) struct Link {
    handle: Handle<Verifier>,
    /// The connection to the bastion that carries this one.
    _jump: Option<Arc<Link>>,
}

impl Link {
    pub(super) fn lives(&self) -> bool {
        !self.handle.is_closed()
    }

    /// Opens a channel.
    pub(super) async fn open(&self, purpose: &Purpose) -> Result<Channel<Msg>, russh::Error> {
        const HERE: &str = "127.0.0.1";
        let handle = &self.handle;
        match purpose {
            Purpose::Command => handle.channel_open_session().await,
            Purpose::Stream(Endpoint::Tcp(port)) => {
                let port = u32::from(*port);
                handle.channel_open_direct_tcpip(HERE, port, HERE, 0).await
            }
            Purpose::Stream(Endpoint::Unix(path)) => {
                handle.channel_open_direct_streamlocal(path.clone()).await
            }
        }
    }
}

/// What a channel is for.
pub(super) enum Purpose {
    Command,
    /// To something that listens on the host.
    Stream(Endpoint),
}

/// Accepts the host key that the inventory states and no other.
pub(super) struct Verifier {
    expected: PublicKey,
    /// Fingerprint of another key that was presented.
    presented: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Verifier {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let key = key.public_key();
        let same = key.key_data() == self.expected.key_data();
        if !same && let Ok(mut presented) = self.presented.lock() {
            *presented = Some(key.fingerprint(HashAlg::Sha256).to_string());
        }
        Ok(same)
    }
}

/// Connects, by a stream through `jump` where there is one, verifies the host
/// key and authenticates.
pub(super) async fn connect(
    entry: &HostEntry,
    key: &Arc<PrivateKey>,
    deadlines: Deadlines,
    jump: Option<(HostName, Arc<Link>)>,
) -> Result<Link, RemoteError> {
    let by = jump.as_ref().map(|(name, _)| name.clone());
    let attempt = Attempt {
        entry,
        deadlines,
        by,
    };
    let expected = attempt.expected_key()?;
    let presented = Arc::new(Mutex::new(None));
    let config = Arc::new(config(&expected));
    let verifier = Verifier {
        expected,
        presented: Arc::clone(&presented),
    };
    let session = async {
        match &jump {
            None => {
                let stream = attempt.tcp().await?;
                client::connect_stream(config, stream, verifier).await
            }
            Some((_, link)) => {
                let stream = attempt.through(link).await?;
                client::connect_stream(config, stream, verifier).await
            }
        }
    };
    let mut handle = match timeout(deadlines.connect, session).await {
        Ok(Ok(handle)) => handle,
        Ok(Err(error)) => {
            let presented = presented.lock().ok().and_then(|mut kept| kept.take());
            return Err(attempt.failed(presented, &error));
        }
        Err(_) => return Err(attempt.late(deadlines.connect, "connecting")),
    };
    attempt.authenticate(&mut handle, key).await?;
    Ok(Link {
        handle,
        _jump: jump.map(|(_, link)| link),
    })
}

/// What is being tried, for the words of its errors.
struct Attempt<'a> {
    entry: &'a HostEntry,
    deadlines: Deadlines,
    /// The bastion on the way.
    by: Option<HostName>,
}

impl Attempt<'_> {
    fn expected_key(&self) -> Result<PublicKey, RemoteError> {
        let stated = &self.entry.ssh.host_key;
        PublicKey::from_openssh(stated).map_err(|error| {
            self.unreachable(format!("the inventory states no valid host key: {error}"))
        })
    }

    async fn tcp(&self) -> Result<Prompt, russh::Error> {
        let way = &self.entry.ssh;
        let stream = TcpStream::connect((way.address.as_str(), way.port)).await?;
        Ok(Prompt::new(stream)?)
    }

    async fn through(&self, jump: &Link) -> Result<ChannelStream<Msg>, russh::Error> {
        let way = &self.entry.ssh;
        let channel = jump
            .handle
            .channel_open_direct_tcpip(way.address.as_str(), u32::from(way.port), "127.0.0.1", 0)
            .await?;
        Ok(channel.into_stream())
    }

    async fn authenticate(
        &self,
        handle: &mut Handle<Verifier>,
        key: &Arc<PrivateKey>,
    ) -> Result<(), RemoteError> {
        let user = self.entry.ssh.user.clone();
        let answer = async {
            let hash = if key.algorithm().is_rsa() {
                handle.best_supported_rsa_hash().await?.flatten()
            } else {
                None
            };
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
            handle.authenticate_publickey(user.clone(), key).await
        };
        match timeout(self.deadlines.authenticate, answer).await {
            Ok(Ok(answer)) if answer.success() => Ok(()),
            Ok(Ok(_)) => Err(RemoteError::Refused {
                host: self.entry.name.clone(),
                user,
            }),
            Ok(Err(error)) => Err(self.unreachable(format!("authentication broke off: {error}"))),
            Err(_) => Err(self.late(self.deadlines.authenticate, "authenticating")),
        }
    }

    fn failed(&self, presented: Option<String>, error: &russh::Error) -> RemoteError {
        if let Some(presented) = presented {
            return RemoteError::HostKey {
                host: self.entry.name.clone(),
                address: self.address(),
                presented,
            };
        }
        let why = match error {
            russh::Error::ChannelOpenFailure(why) => refusal(why),
            russh::Error::IO(error) => error.to_string(),
            other => other.to_string(),
        };
        self.unreachable(why)
    }

    fn unreachable(&self, why: String) -> RemoteError {
        RemoteError::Connect {
            host: self.entry.name.clone(),
            address: self.address(),
            why: match &self.by {
                Some(bastion) => format!("through {bastion}: {why}"),
                None => why,
            },
        }
    }

    fn late(&self, within: Duration, what: &str) -> RemoteError {
        self.unreachable(format!("no answer within {within:?} while {what}"))
    }

    fn address(&self) -> String {
        format!("{}:{}", self.entry.ssh.address, self.entry.ssh.port)
    }
}

/// Asks the host for the key that is expected: a host has several.
fn config(expected: &PublicKey) -> client::Config {
    let keys = match expected.algorithm() {
        Algorithm::Rsa { .. } => [Some(HashAlg::Sha512), Some(HashAlg::Sha256)]
            .map(|hash| Algorithm::Rsa { hash })
            .to_vec(),
        algorithm => vec![algorithm],
    };
    client::Config {
        preferred: Preferred {
            kex: Cow::Borrowed(KEY_EXCHANGES),
            cipher: Cow::Borrowed(CIPHERS),
            key: Cow::Owned(keys),
            ..Preferred::default()
        },
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        nodelay: true,
        ..client::Config::default()
    }
}

/// Why the other side did not open a channel.
pub(super) fn refusal(why: &ChannelOpenFailure) -> String {
    match why {
        ChannelOpenFailure::ConnectFailed => "connection refused".to_owned(),
        ChannelOpenFailure::AdministrativelyProhibited => {
            "the SSH server does not allow it".to_owned()
        }
        ChannelOpenFailure::UnknownChannelType => "the SSH server cannot do it".to_owned(),
        ChannelOpenFailure::ResourceShortage => "the SSH server has no more room".to_owned(),
        ChannelOpenFailure::Other { code, reason } => format!("{reason} ({code})"),
    }
}

/// A stream that keeps its connection.
pub(super) struct Kept<S> {
    stream: S,
    _link: Arc<Link>,
}

impl<S> Kept<S> {
    pub(super) fn new(stream: S, link: Arc<Link>) -> Self {
        Self {
            stream,
            _link: link,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Kept<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Kept<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
