//! Businesses: what they say of themselves, what they sell, and the name that WhatsApp has verified.
//! Shapes: Baileys `Socket/business.ts`, `Utils/business.ts`, whatsmeow `user.go`.

use prost::Message as _;

use super::{Iq, IqKind};
use crate::{
    proto::{VerifiedNameCertificate, verified_name_certificate::Details},
    wire::{Jid, Node},
};

/// Products on one page.
pub const PAGE: u32 = 20;
/// Pixels of the pictures that are asked for.
const EDGE: &str = "512";
/// What one answer may list of each thing; the rest is left out.
const MAX_LISTED: usize = 100;

/// A product of a catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Product {
    /// Names it.
    pub id: String,
    /// As shown.
    pub name: String,
    /// More about it.
    pub description: Option<String>,
    /// The business's own number for it.
    pub retailer_id: Option<String>,
    /// A page about it.
    pub url: Option<String>,
    /// Thousandths of the currency's unit.
    pub price: Option<u64>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// Addresses of its pictures.
    pub images: Vec<String>,
    /// Not shown to customers.
    pub hidden: bool,
}

/// A day's opening times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// `sun` … `sat`.
    pub day: String,
    /// `open_24h`, `specific_hours` or `appointment_only`.
    pub mode: String,
    /// Minutes of the day.
    pub open: Option<u32>,
    /// Minutes of the day.
    pub close: Option<u32>,
}

/// What a business says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusinessProfile {
    /// Where it is.
    pub address: Option<String>,
    /// A sentence or two.
    pub description: Option<String>,
    /// Pages of its own.
    pub websites: Vec<String>,
    /// An address for mail.
    pub email: Option<String>,
    /// Degrees, as text.
    pub latitude: Option<String>,
    /// Degrees, as text.
    pub longitude: Option<String>,
    /// Id and name of each.
    pub categories: Vec<(String, String)>,
    /// An IANA name.
    pub timezone: Option<String>,
    /// Day by day.
    pub hours: Vec<Hours>,
}

/// Client → server: what does this person say of its business?
pub fn profile_query(id: &str, of: &Jid) -> Node {
    let profile = Node::new("profile").attr("jid", of);
    Iq::query(id, IqKind::Get, "w:biz").child(Node::new("business_profile").attr("v", "244").child(profile))
}

/// Client → server: one page of what it sells.
pub fn catalogue_query(id: &str, of: &Jid, after: Option<&str>) -> Node {
    let text = |tag: &'static str, value: String| Node::new(tag).bytes(value.into_bytes());
    let catalogue = Node::new("product_catalog")
        .attr("jid", of)
        .attr("allow_shop_source", "true")
        .child(text("limit", PAGE.to_string()))
        .child(text("width", EDGE.to_owned()))
        .child(text("height", EDGE.to_owned()))
        .child_opt(after.map(|after| text("after", after.to_owned())));
    Iq::query(id, IqKind::Get, "w:biz:catalog").child(catalogue)
}

/// The text in a child; empty is absent.
fn inside(node: &Node, tag: &str) -> Option<String> {
    let bytes = node.find(tag)?.content_bytes()?;
    String::from_utf8(bytes.into_owned()).ok().filter(|text| !text.is_empty())
}

impl BusinessProfile {
    /// Reads the server's answer; `None`: it is no business.
    pub fn parse(node: &Node) -> Option<Self> {
        let profile = node.find("business_profile")?.find("profile")?;
        let text = |node: &Node| String::from_utf8(node.content_bytes()?.into_owned()).ok();
        let categories = profile.find("categories").into_iter().flat_map(|all| all.find_all("category"));
        let hours = profile.find("business_hours");
        let days = hours.into_iter().flat_map(|hours| hours.find_all("business_hours_config"));
        Some(Self {
            address: inside(profile, "address"),
            description: inside(profile, "description"),
            websites: profile.find_all("website").filter_map(text).take(MAX_LISTED).collect(),
            email: inside(profile, "email"),
            latitude: inside(profile, "latitude"),
            longitude: inside(profile, "longitude"),
            categories: categories
                .filter_map(|one| Some((one.text("id").unwrap_or_default().to_owned(), text(one)?)))
                .take(MAX_LISTED)
                .collect(),
            timezone: hours.and_then(|hours| hours.text("timezone")).map(str::to_owned),
            hours: days
                .filter_map(|day| {
                    Some(Hours {
                        day: day.text("day_of_week")?.to_owned(),
                        mode: day.text("mode")?.to_owned(),
                        open: day.number("open_time"),
                        close: day.number("close_time"),
                    })
                })
                .take(MAX_LISTED)
                .collect(),
        })
    }

    /// Builds the server's answer.
    pub fn build(this: Option<&Self>, id: &str, of: &Jid) -> Node {
        let Some(this) = this else { return Iq::result(id).child(Node::new("business_profile")) };
        let text = |tag: &'static str, value: &str| Node::new(tag).bytes(value.as_bytes());
        let optional =
            |tag: &'static str, value: &Option<String>| value.as_ref().map(|value| text(tag, value));
        let categories =
            this.categories.iter().map(|(id, name)| text("category", name).attr("id", id.clone()));
        let days = this.hours.iter().map(|day| {
            Node::new("business_hours_config")
                .attr("day_of_week", day.day.clone())
                .attr("mode", day.mode.clone())
                .attr_opt("open_time", day.open)
                .attr_opt("close_time", day.close)
        });
        let hours = (!this.hours.is_empty()).then(|| {
            Node::new("business_hours").attr_opt("timezone", this.timezone.clone()).children_from(days)
        });
        let profile = Node::new("profile")
            .attr("jid", of)
            .child_opt(optional("address", &this.address))
            .child_opt(optional("description", &this.description))
            .children_from(this.websites.iter().map(|page| text("website", page)))
            .child_opt(optional("email", &this.email))
            .child_opt(optional("latitude", &this.latitude))
            .child_opt(optional("longitude", &this.longitude))
            .child(Node::new("categories").children_from(categories))
            .child_opt(hours);
        Iq::result(id).child(Node::new("business_profile").child(profile))
    }
}

/// One page of a catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// What is sold.
    pub products: Vec<Product>,
    /// Where the next page begins; `None`: this was the last.
    pub after: Option<String>,
}

impl Catalogue {
    /// Reads the server's answer; products without an id are left out.
    pub fn parse(node: &Node) -> Self {
        let Some(catalogue) = node.find("product_catalog") else { return Self::default() };
        let product = |node: &Node| {
            let media = node.find("media").into_iter().flat_map(|media| media.find_all("image"));
            let address = |image: &Node| {
                inside(image, "original_image_url").or_else(|| inside(image, "request_image_url"))
            };
            Some(Product {
                id: inside(node, "id")?,
                name: inside(node, "name").unwrap_or_default(),
                description: inside(node, "description"),
                retailer_id: inside(node, "retailer_id"),
                url: inside(node, "url"),
                price: inside(node, "price").and_then(|price| price.parse().ok()),
                currency: inside(node, "currency"),
                images: media.filter_map(address).take(MAX_LISTED).collect(),
                hidden: node.text("is_hidden") == Some("true"),
            })
        };
        Self {
            products: catalogue.find_all("product").filter_map(product).take(MAX_LISTED).collect(),
            after: catalogue.find("paging").and_then(|paging| inside(paging, "after")),
        }
    }

    /// Builds the server's answer.
    pub fn build(&self, id: &str) -> Node {
        let text = |tag: &'static str, value: &str| Node::new(tag).bytes(value.as_bytes());
        let optional =
            |tag: &'static str, value: &Option<String>| value.as_ref().map(|value| text(tag, value));
        let products = self.products.iter().map(|product| {
            let image = |address: &String| {
                Node::new("image")
                    .child(text("request_image_url", address))
                    .child(text("original_image_url", address))
            };
            Node::new("product")
                .attr_opt("is_hidden", product.hidden.then_some("true"))
                .child(text("id", &product.id))
                .child(text("name", &product.name))
                .child_opt(optional("description", &product.description))
                .child_opt(optional("retailer_id", &product.retailer_id))
                .child_opt(optional("url", &product.url))
                .child_opt(product.price.map(|price| text("price", &price.to_string())))
                .child_opt(optional("currency", &product.currency))
                .child(Node::new("media").children_from(product.images.iter().map(image)))
                .child(Node::new("status_info").child(text("status", "APPROVED")))
        });
        let paging = self.after.as_ref().map(|after| Node::new("paging").child(text("after", after)));
        let catalogue = Node::new("product_catalog").children_from(products).child_opt(paging);
        Iq::result(id).child(catalogue)
    }
}

/// The name in a certificate, which WhatsApp has signed.
pub fn verified_name(certificate: &[u8]) -> Option<String> {
    let certificate = VerifiedNameCertificate::decode(certificate).ok()?;
    let details = Details::decode(certificate.details?.as_slice()).ok()?;
    details.verified_name.filter(|name| !name.is_empty())
}

/// A certificate over a name, as the simulated server hands it out: clients check no signature on it.
pub fn name_certificate(name: &str) -> Vec<u8> {
    let details =
        Details { serial: Some(1), issuer: Some("smb:wa".to_owned()), verified_name: Some(name.to_owned()) };
    VerifiedNameCertificate { details: Some(details.encode_to_vec()), signature: Some(vec![0; 64]) }
        .encode_to_vec()
}
