//! One connection to the server under load, plain or TLS. Nothing here waits.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use neurohttp::sys::socket;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

/// How to speak TLS, and with whom.
#[derive(Clone)]
pub(super) struct Secure {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Secure {
    /// For a server of this name: against the system's authorities and one of a file, or against
    /// nothing with `insecure`.
    ///
    /// # Errors
    /// One line that says what cannot be used.
    pub(super) fn new(host: &str, ca: Option<&Path>, insecure: bool) -> Result<Secure, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host} is no name a certificate can be for"))?;
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&crypto))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = if insecure {
            let verifier = Arc::new(Anybody(crypto));
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if let Some(file) = ca {
                let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
                for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong(&e))? {
                    let certificate = certificate.map_err(|error| wrong(&error))?;
                    roots.add(certificate).map_err(|error| wrong(&error))?;
                }
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Secure { config: Arc::new(config), name })
    }
}

/// Takes every certificate: what `--insecure` asks for.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection.
pub(super) enum Wire {
    Plain(OwnedFd),
    Tls(Box<Tls>),
}

pub(super) struct Tls {
    stream: TcpStream,
    session: ClientConnection,
}

impl Wire {
    /// Begins to connect.
    pub(super) fn open(address: SocketAddr, secure: Option<&Secure>) -> io::Result<Wire> {
        let fd = socket::connect(address)?;
        let Some(secure) = secure else { return Ok(Wire::Plain(fd)) };
        let session = ClientConnection::new(Arc::clone(&secure.config), secure.name.clone())
            .map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(Tls { stream: TcpStream::from(fd), session })))
    }

    pub(super) fn fd(&self) -> RawFd {
        match self {
            Wire::Plain(fd) => fd.as_raw_fd(),
            Wire::Tls(tls) => tls.stream.as_raw_fd(),
        }
    }

    /// Whether bytes that are sent go out, and do not wait for the end of a handshake.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            // While it connects the system takes no byte.
            Wire::Plain(_) => true,
            Wire::Tls(tls) => !tls.session.is_handshaking(),
        }
    }

    /// Sends what can be sent now; 0 when the session takes no more for now.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(fd) => socket::send(fd.as_raw_fd(), bytes),
            Wire::Tls(tls) => {
                let count = tls.session.writer().write(bytes)?;
                tls.flush()?;
                Ok(count)
            }
        }
    }

    /// Sends what the session still has.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(_) => Ok(()),
            Wire::Tls(tls) => tls.flush(),
        }
    }

    /// Receives what is there; 0 is the end.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(fd) => socket::receive(fd.as_raw_fd(), into),
            Wire::Tls(tls) => tls.receive(into),
        }
    }
}

impl Tls {
    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A server that ends without a word ends all the same.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            if self.session.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            self.session.process_new_packets().map_err(io::Error::other)?;
            self.flush()?;
        }
    }
}
