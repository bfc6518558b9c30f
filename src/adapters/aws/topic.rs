//! A topic of SNS, to which watchers send what they say.

use super::{Manner, calls::call, standard};
use crate::{
    ids::Region,
    ports::cloud::{CloudError, Fault},
};

/// Longer subjects are refused.
const LONGEST_SUBJECT: usize = 99;

/// A topic with the client of its region.
#[derive(Clone)]
pub struct Topic {
    arn: String,
    region: Region,
    client: aws_sdk_sns::Client,
}

impl Topic {
    /// By its ARN, with credentials of the standard chain. Opens no
    /// connection.
    ///
    /// # Errors
    /// It names no region.
    pub async fn new(arn: &str) -> Result<Self, CloudError> {
        let region = arn.split(':').nth(3).and_then(|name| name.parse().ok());
        let region: Region = region.ok_or_else(|| CloudError {
            call: "sns:Publish".to_owned(),
            region: None,
            fault: Fault::Refused,
            message: format!("{arn} names no region"),
        })?;
        let shared = standard(region.as_str()).await;
        let manner = Manner::quick();
        let config = aws_sdk_sns::config::Builder::from(&shared)
            .retry_config(manner.retry)
            .timeout_config(manner.timeout)
            .build();
        Ok(Self {
            arn: arn.to_owned(),
            region,
            client: aws_sdk_sns::Client::from_conf(config),
        })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// The topic did not take it.
    pub async fn publish(&self, subject: &str, text: &str) -> Result<(), CloudError> {
        let subject: String = subject.chars().take(LONGEST_SUBJECT).collect();
        let request = (self.client.publish())
            .topic_arn(&self.arn)
            .subject(subject)
            .message(text);
        call!("sns:Publish", &self.region, request)?;
        Ok(())
    }
}
