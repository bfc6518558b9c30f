//! Who gets the messages of a watcher.

use std::time::Duration;

use tokio::sync::mpsc;

use super::Message;
use crate::{adapters::aws::topic::Topic, ports::cloud::CloudError, topology::Watch};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried.
const TRIES: u32 = 5;

/// Somebody who takes messages.
pub enum Receiver {
    /// The address may be a secret, and is never told.
    Webhook {
        client: reqwest::Client,
        url: String,
    },
    Topic(Topic),
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("{0}")]
    Webhook(reqwest::Error),
    #[error("{0}")]
    Topic(CloudError),
}

impl From<reqwest::Error> for NotTaken {
    fn from(error: reqwest::Error) -> Self {
        Self::Webhook(error.without_url())
    }
}

impl NotTaken {
    /// What the user can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Webhook(_) => {
                "see that `watch.webhook` is right, and reachable from this host".to_owned()
            }
            Self::Topic(error) => error.remedy(),
        }
    }
}

impl Receiver {
    /// Those that a topology names; empty: nobody.
    ///
    /// # Errors
    /// One cannot be made.
    pub async fn all(watch: &Watch) -> Result<Vec<Self>, NotTaken> {
        let mut all = Vec::new();
        if let Some(url) = &watch.webhook {
            all.push(Self::Webhook {
                client: reqwest::Client::builder().timeout(PATIENCE).build()?,
                url: url.clone(),
            });
        }
        if let Some(arn) = &watch.sns_topic {
            all.push(Self::Topic(Topic::new(arn).await.map_err(NotTaken::Topic)?));
        }
        Ok(all)
    }

    /// Its key in the topology.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Topic(_) => "sns_topic",
        }
    }

    /// Sends once; answers when it is taken.
    ///
    /// # Errors
    /// Why it was not.
    pub async fn send(&self, message: &Message) -> Result<(), NotTaken> {
        match self {
            Self::Webhook { client, url } => {
                let sent = client.post(url).json(message).send().await?;
                sent.error_for_status()?;
                Ok(())
            }
            Self::Topic(topic) => {
                let text = serde_json::to_string(message).expect("a message is plain data");
                let subject = format!("hafail {}: {}", message.topology, message.event);
                let sent = topic.publish(&subject, &text).await;
                sent.map_err(NotTaken::Topic)
            }
        }
    }

    /// Sends one message after another, each until it is taken or given up.
    pub(super) async fn send_all(self, mut messages: mpsc::Receiver<Message>) {
        while let Some(message) = messages.recv().await {
            for attempt in 1..=TRIES {
                match self.send(&message).await {
                    Ok(()) => break,
                    Err(error) if attempt == TRIES => {
                        let to = self.key();
                        tracing::error!(to, %error, ?message, "nobody took the message");
                    }
                    Err(_) => tokio::time::sleep(Duration::from_secs(1 << attempt)).await,
                }
            }
        }
    }
}
