//! Why a link ended, or why a connection never became one: three enums, and the word that users see for each reason.
//!
//! The words appear in `LinkLost.kind` and `AcceptRefused.kind` in Python and in the names of counters. A word that
//! users have seen is never changed, because operators search logs for it. Holds no state; any thread may use it.

/// Makes an enum with a word for each variant and a list of all of them. With `of $inner` its variant `End` holds the
/// reasons of `$inner`.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident $(of $inner:ident)? {
        $($(#[$variant_doc:meta])* $variant:ident $word:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(
                /// A reason for which any connection can end.
                End($inner),
            )?
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All reasons, each once.
            pub fn all() -> impl Iterator<Item = $name> {
                let own = [$($name::$variant,)*].into_iter();
                $(let own = $inner::all().map($name::End).chain(own);)?
                own
            }

            /// The word that users see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::End(reason) => $inner::name(reason),)?
                    $($name::$variant => $word,)*
                }
            }
        }
    };
}

reasons! {
    /// Reasons for which any connection can end, before or after its handshake.
    EndReason {
        /// The peer ended the stream.
        Eof "eof",
        /// Reading or writing failed.
        Error "error",
        /// The peer sent bytes that cannot be the start of a message (H1).
        BadSignature "bad-signature",
        /// The peer announced a message too short or too long (H2, H3).
        BadLength "bad-length",
        /// The peer speaks TLS on a link where we do not (H35).
        TlsOnPlain "tls-on-plain",
        /// The peer does not speak TLS on a link where we do (H35).
        NotTls "not-tls",
        /// The peer showed no certificate (H36).
        NoCertificate "no-certificate",
        /// The peer's certificate cannot be verified (H36).
        BadCertificate "bad-certificate",
        /// The peer sent a TLS alert: it refuses us.
        TlsAlert "tls-alert",
        /// The peer broke a rule of TLS (H37).
        Tls "tls",
        /// The TLS handshake took too long (H31).
        HandshakeTimeout "handshake-timeout",
        /// Links of nobody known hold too many bytes of packets that are not whole yet.
        AnonymousBytes "anonymous-bytes",
        /// A job on the connection panicked, which is our own fault (R36).
        Panic "panic",
    }
}

reasons! {
    /// Why a link that the main loop knows cannot go on.
    LossReason of EndReason {
        /// The peer sent too many packets that were refused (H4).
        BadPackets "bad-packets",
        /// The dial failed, or did not connect in time.
        Connect "connect",
        /// No whole packet came in time (H31).
        FirstPacketTimeout "first-packet-timeout",
        /// More bytes wait to be sent than `cluster-link-sendbuf-limit` allows (R18).
        SendbufLimit "sendbuf-limit",
    }
}

reasons! {
    /// Why an inbound connection did not become a link. `End` covers its handshake and the first bytes after it.
    RefusalReason of EndReason {
        /// The limit on links is reached (H30).
        MaxLinks "max-links",
        /// The limit on handshakes under way is reached (H38).
        MaxHandshakes "max-handshakes",
        /// The process has no file descriptor left (H43). Only counted, since there is no connection to report.
        NoDescriptors "no-descriptors",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_reasons_share_a_word() {
        let losses: Vec<_> = LossReason::all().map(LossReason::name).collect();
        assert_eq!(losses.iter().collect::<BTreeSet<_>>().len(), losses.len());
        let refusals: Vec<_> = RefusalReason::all().map(RefusalReason::name).collect();
        assert_eq!(refusals.iter().collect::<BTreeSet<_>>().len(), refusals.len());
        assert_eq!((losses.len(), refusals.len()), (17, 16));
    }
}
