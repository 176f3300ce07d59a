//! The addresses of the products, and the tests' own.

use url::Url;

/// Addresses instead of Alibaba Cloud's own: of tests, or within a VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// RDS.
    pub rds: Option<Url>,
    /// RAM.
    pub ram: Option<Url>,
    /// STS.
    pub sts: Option<Url>,
    /// OSS. Applications get the name of this host, too.
    pub oss: Option<Url>,
    /// The metadata service of ECS.
    pub metadata: Option<Url>,
}

/// A product with remote procedure calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    Rds,
    Ram,
    Sts,
}

/// The regions whose RDS has the central address, as the official SDK has them.
const CENTRAL_RDS: [&str; 16] = [
    "ap-southeast-1",
    "cn-beijing",
    "cn-beijing-finance-1",
    "cn-hangzhou",
    "cn-heyuan",
    "cn-hongkong",
    "cn-north-2-gov-1",
    "cn-qingdao",
    "cn-shanghai",
    "cn-shanghai-finance-1",
    "cn-shenzhen",
    "cn-shenzhen-finance-1",
    "cn-wuhan",
    "cn-zhangbei",
    "us-east-1",
    "us-west-1",
];
const METADATA: &str = "http://100.100.100.200";

impl Product {
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Rds => "2014-08-15",
            Self::Ram => "2015-05-01",
            Self::Sts => "2015-04-01",
        }
    }
}

impl Endpoints {
    /// The address of a product in a region.
    pub(super) fn of(&self, product: Product, region: &str) -> Result<Url, url::ParseError> {
        let (given, host) = match product {
            Product::Rds if CENTRAL_RDS.contains(&region) => (&self.rds, "rds.aliyuncs.com".to_owned()),
            Product::Rds => (&self.rds, format!("rds.{region}.aliyuncs.com")),
            Product::Ram => (&self.ram, "ram.aliyuncs.com".to_owned()),
            Product::Sts => (&self.sts, format!("sts.{region}.aliyuncs.com")),
        };
        given.clone().map_or_else(|| Url::parse(&format!("https://{host}")), Ok)
    }

    /// The address of OSS in a region, without a bucket.
    pub(super) fn oss(&self, region: &str) -> Result<Url, url::ParseError> {
        self.oss.clone().map_or_else(|| Url::parse(&format!("https://oss-{region}.aliyuncs.com")), Ok)
    }

    /// The address of the metadata service.
    pub(super) fn metadata(&self) -> Result<Url, url::ParseError> {
        self.metadata.clone().map_or_else(|| Url::parse(METADATA), Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(Product::Rds, "cn-hangzhou", "https://rds.aliyuncs.com/")]
    #[case(Product::Rds, "eu-central-1", "https://rds.eu-central-1.aliyuncs.com/")]
    #[case(Product::Ram, "eu-central-1", "https://ram.aliyuncs.com/")]
    #[case(Product::Sts, "eu-central-1", "https://sts.eu-central-1.aliyuncs.com/")]
    fn products_have_an_address_in_each_region(
        #[case] product: Product,
        #[case] region: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(Endpoints::default().of(product, region).unwrap().as_str(), expected);
        let inside = Url::parse("https://sts-vpc.eu-central-1.aliyuncs.com").unwrap();
        let given = Endpoints { sts: Some(inside.clone()), ..Endpoints::default() };
        assert_eq!(given.of(Product::Sts, region), Ok(inside));
    }
}
