//! What the control API shows and sets of profiles.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Millis,
    sandbox::core::{AccountId, DeviceRef, Namespace, OperateError, World},
    stanza::business::{BusinessProfile, Hours, Product},
};

/// Products of one business.
const MAX_PRODUCTS: usize = 1_000;

/// A business as the control API takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusinessSpec {
    /// As WhatsApp has verified it.
    pub name: Option<String>,
    /// Where it is.
    pub address: Option<String>,
    /// A sentence or two.
    pub description: Option<String>,
    /// Pages of its own.
    pub websites: Vec<String>,
    /// An address for mail.
    pub email: Option<String>,
    /// Its kinds, by name.
    pub categories: Vec<String>,
    /// Open all day on these days, `sun` … `sat`.
    pub open_on: Vec<String>,
    /// What it sells.
    pub products: Vec<ProductSpec>,
}

/// A product as the control API takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProductSpec {
    /// Names it.
    pub id: String,
    /// As shown.
    pub name: String,
    /// More about it.
    pub description: Option<String>,
    /// Thousandths of the currency's unit.
    pub price: Option<u64>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// Addresses of pictures.
    pub images: Vec<String>,
}

impl BusinessSpec {
    pub(super) fn profile(&self) -> BusinessProfile {
        let categories = self.categories.iter().enumerate();
        let day =
            |day: &String| Hours { day: day.clone(), mode: "open_24h".to_owned(), open: None, close: None };
        BusinessProfile {
            address: self.address.clone(),
            description: self.description.clone(),
            websites: self.websites.clone(),
            email: self.email.clone(),
            latitude: None,
            longitude: None,
            categories: categories.map(|(n, name)| ((n + 1).to_string(), name.clone())).collect(),
            timezone: Some("America/Sao_Paulo".to_owned()),
            hours: self.open_on.iter().map(day).collect(),
        }
    }

    pub(super) fn catalogue(&self) -> Vec<Product> {
        let product = |product: &ProductSpec| Product {
            id: product.id.clone(),
            name: product.name.clone(),
            description: product.description.clone(),
            retailer_id: None,
            url: None,
            price: product.price,
            currency: product.currency.clone(),
            images: product.images.clone(),
            hidden: false,
        };
        self.products.iter().map(product).collect()
    }
}

/// What an account shows, and whom it has blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProfileView {
    /// The text about itself.
    pub about: String,
    /// Names its picture.
    pub picture_id: Option<String>,
    /// Numbers.
    pub blocked: Vec<String>,
    /// As verified, of a business.
    pub business_name: Option<String>,
    /// Its privacy settings that are not at their defaults.
    pub privacy: std::collections::BTreeMap<String, String>,
    /// Messages of new chats disappear after so many seconds; 0: never.
    pub timer: u32,
}

impl World {
    pub(crate) fn profile_view(&self, phone: AccountId) -> ProfileView {
        let own = self.account(phone).jid(Namespace::Pn, 0).to_wire();
        let shown = self.shown(phone);
        ProfileView {
            about: self.about(phone),
            picture_id: self.profiles.pictures.get(&own).map(|picture| picture.id.clone()),
            blocked: shown.blocked.iter().map(|id| self.account(AccountId(*id)).pn.clone()).collect(),
            business_name: self.business_name(phone),
            privacy: self.account(phone).privacy.clone(),
            timer: shown.timer,
        }
    }

    /// The phone's user chooses another picture, or none; its id.
    pub(crate) fn phone_sets_picture(
        &mut self,
        phone: AccountId,
        jpeg: Option<&[u8]>,
        now: Millis,
    ) -> Result<Option<String>, OperateError> {
        let own = self.account(phone).jid(Namespace::Pn, 0);
        let set = self.set_picture(phone, &own, jpeg, now);
        let id = set.map_err(|_| OperateError::BadRequest("picture: a JPEG of at most 1 MiB"))?;
        self.spread_profiles(now);
        self.settle(now);
        Ok(id)
    }

    /// The phone's user writes something else about themselves.
    pub(crate) fn phone_sets_about(
        &mut self,
        phone: AccountId,
        text: &str,
        now: Millis,
    ) -> Result<(), OperateError> {
        let device = DeviceRef { account: phone, device: 0 };
        let set = self.set_about(device, text.to_owned(), now);
        set.map_err(|_| OperateError::BadRequest("about: at most 139 characters"))?;
        self.spread_profiles(now);
        self.settle(now);
        Ok(())
    }

    /// The phone's user blocks somebody, or no longer does.
    pub(crate) fn phone_blocks(
        &mut self,
        phone: AccountId,
        who: &str,
        block: bool,
        now: Millis,
    ) -> Result<(), OperateError> {
        let who = self.resolve_text(who).ok_or(OperateError::NoSuchRecipient)?;
        let device = DeviceRef { account: phone, device: 0 };
        let done = self.block(device, who.account, block, now);
        done.map_err(|_| OperateError::Conflict("nobody can block that number"))?;
        self.spread_profiles(now);
        self.settle(now);
        Ok(())
    }

    /// The account is a business from now on, or no more.
    pub(crate) fn make_business(
        &mut self,
        phone: AccountId,
        business: Option<BusinessSpec>,
    ) -> Result<(), OperateError> {
        if business.as_ref().is_some_and(|business| business.products.len() > MAX_PRODUCTS) {
            return Err(OperateError::BadRequest("products: at most 1000"));
        }
        self.shown_mut(phone).business = business;
        Ok(())
    }
}
