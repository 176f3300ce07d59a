//! Queues of Amazon SQS: receive messages, and delete those that were read.

use serde_json::{Value, json};

use super::{Account, AwsError, Call, signed::JsonRequest};

/// How long a request waits for a message. Less than the time limit of a request.
const WAIT_SECONDS: u32 = 15;
/// The most messages that a request may receive.
const BATCH: u32 = 10;

/// A received message. It comes again unless it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The text.
    pub body: String,
    receipt: String,
}

impl Account {
    /// Waits up to 15 seconds for messages, and returns up to 10.
    ///
    /// # Errors
    /// When SQS does not answer or refuses.
    pub async fn receive_messages(&self, queue_url: &str) -> Result<Vec<Message>, AwsError> {
        let call = Call::read("sqs:ReceiveMessage", queue_url);
        let body =
            json!({"QueueUrl": queue_url, "MaxNumberOfMessages": BATCH, "WaitTimeSeconds": WAIT_SECONDS});
        let answer = self.sqs(call, "AmazonSQS.ReceiveMessage", &body).await?;
        let messages = answer["Messages"].as_array().into_iter().flatten();
        let text = |message: &Value, field: &str| message[field].as_str().unwrap_or_default().to_owned();
        let read = |message| Message { body: text(message, "Body"), receipt: text(message, "ReceiptHandle") };
        Ok(messages.map(read).collect())
    }

    /// Deletes a received message.
    ///
    /// # Errors
    /// When SQS does not answer or refuses.
    pub async fn delete_message(&self, queue_url: &str, message: &Message) -> Result<(), AwsError> {
        let call = Call::write("sqs:DeleteMessage", queue_url);
        let body = json!({"QueueUrl": queue_url, "ReceiptHandle": message.receipt});
        self.sqs(call, "AmazonSQS.DeleteMessage", &body).await.map(drop)
    }

    async fn sqs(&self, call: Call<'_>, target: &'static str, body: &Value) -> Result<Value, AwsError> {
        let target = Some(target);
        let request = JsonRequest { service: "sqs", method: "POST", path: "/", target, body: Some(body) };
        self.json(call, &request).await
    }
}
