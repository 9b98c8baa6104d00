//! Data keys of KMS.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

use crate::error::Error;
use crate::gateway::Gateway;

/// Bytes, and what KMS makes them from again for whoever may. Both in base64.
#[derive(Clone, Debug)]
pub struct DataKey {
    pub plaintext: SecretString,
    pub ciphertext: String,
}

impl Gateway {
    /// A new data key of so many bytes (1 to 1024), bound to this context.
    pub async fn data_key(
        &self,
        key_id: &str,
        bytes: i32,
        context: &[(String, String)],
    ) -> Result<DataKey, Error> {
        let call = self.call("GenerateDataKey").on(key_id);
        let reply = self
            .clients()
            .kms
            .generate_data_key()
            .key_id(key_id)
            .number_of_bytes(bytes)
            .set_encryption_context(Some(context.iter().cloned().collect()))
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let missing = || call.malformed("no key");
        let plaintext = reply.plaintext.ok_or_else(missing)?;
        let ciphertext = reply.ciphertext_blob.ok_or_else(missing)?;
        Ok(DataKey {
            plaintext: STANDARD.encode(plaintext).into(),
            ciphertext: STANDARD.encode(ciphertext),
        })
    }
}
