//! What sounds like a credential, what looks random, and how often chance decides otherwise. The values are made up.

use super::*;

/// A generator of pseudo-random numbers (xorshift64*), so that each run judges the same values.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap()
    }

    fn text(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet = alphabet.as_bytes();
        (0..length).map(|_| char::from(alphabet[self.next() % alphabet.len()])).collect()
    }
}

const HEX: &str = "0123456789abcdef";
const BASE_36: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const BASE_62: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE_64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE_64_URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";
const CAPITALS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const SYMBOLS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&*@^-_=+?";

#[test]
fn random_values_are_found_as_often_as_promised() {
    // The alphabet, the length, and how many of 1,000 are found at least.
    let promises = [
        (HEX, 16, 985),
        (HEX, 20, 995),
        (HEX, 32, 1000),
        (HEX, 40, 1000),
        (BASE_36, 12, 965),
        (BASE_36, 14, 985),
        (BASE_36, 16, 990),
        (BASE_36, 20, 995),
        (BASE_36, 32, 1000),
        (BASE_62, 12, 975),
        (BASE_62, 16, 995),
        (BASE_62, 20, 995),
        (BASE_64, 16, 980),
        (BASE_64, 20, 990),
        (BASE_64, 24, 995),
        (BASE_64, 40, 998),
        (BASE_64_URL, 16, 985),
        (BASE_64_URL, 20, 993),
        (LETTERS, 14, 905),
        (LETTERS, 16, 935),
        (LETTERS, 20, 970),
        (LETTERS, 24, 985),
        (CAPITALS, 16, 935),
        (CAPITALS, 24, 985),
        (SYMBOLS, 14, 950),
        (SYMBOLS, 20, 985),
        (SYMBOLS, 32, 995),
    ];
    let mut generator = Generator(0x9E37_79B9_7F4A_7C15);
    for (alphabet, length, least) in promises {
        let found = (0..1000).filter(|_| looks_random(&generator.text(alphabet, length))).count();
        assert!(found >= least, "{found} of 1000 values of {length} characters of {alphabet}");
    }
}

#[test]
fn joined_words_are_not_random() {
    let words = "
        access account admin agent api app audit auth backend backup billing broker build cache central
        certificate change client cloud cluster config connector consumer controller customer dashboard data
        database debug default delivery deployment development docker email engine europe example export
        external frontend gateway generated github global grafana handler health image internal inventory
        invoice jenkins kafka key keycloak kubernetes legacy library local logging manager master metrics
        migration mobile monitoring mysql network nginx notification number object operator orders password
        payment platform policy postgres primary private production project prometheus provider proxy public
        queue rabbitmq readonly redis registry release report request schedule search secret server service
        session shipping signing staging storage system team temporary tenant test token tracing training user
        vault version warehouse webhook worker";
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut generator = Generator(42);
    let mut glued = 0;
    for _ in 0..20_000 {
        let count = 2 + generator.next() % 4;
        let chosen: Vec<&str> = (0..count).map(|_| words[generator.next() % words.len()]).collect();
        let camel: String =
            chosen.iter().map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..])).collect();
        let joined = ["-", "_", ".", ",", "/"].map(|separator| chosen.join(separator));
        for value in joined.iter().chain([&joined[1].to_uppercase(), &camel]) {
            assert!(!looks_random(value), "{value}");
        }
        glued += usize::from(looks_random(&chosen.concat()));
    }
    // Where two words meet without a separator, pairs are rare by chance.
    assert!(glued < 60, "{glued}");
}

#[test]
fn random_values_are_found() {
    let values = [
        "kq3vz9xw7bm2tj5h",
        "8f14e45fceea167a5a36dedd4bea2543",
        "8F14E45FCEEA167A5A36DEDD4BEA2543",
        "xkvqjzwpmtrbgd",
        "XKVQJZWPMTRBGDHF",
        "p9$Kx!2vQz@7Lm",
        "3f2b8c1e-7d4a-4e9b-9c6f-1a2d5e8b7c40",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "myapp_9fKx2Lq7ZtR4vB8n",
        "prod-7hG5kQ2zX9vB4nM1",
        "sk-proj-Zt4Rk9Qw2Lx7Vb3N",
        "tok:9b2f61c04d7e83aa",
        "eyJhdXRocyI6eyJyZWdpc3RyeSI6eyJwYXNzd29yZCI6InMzY3IzdCJ9fX0=",
        "dGhpc2lzYXNlY3JldHRoYXRub2JvZHlrbm93cw==",
        "/9Kx2Lq7ZtR4vB8nQw+5=",
        "kq3vz9xw7bm2tj5h\n",
        "\"kq3vz9xw7bm2tj5h\"",
    ];
    for value in values {
        assert!(looks_random(value), "{value}");
    }
    let blob = Generator(7).text(BASE_64, 3000);
    assert!(looks_random(&blob));
    let long = Generator(7).text(BASE_64, 100_000);
    assert!(looks_random(&long));
}

#[test]
fn other_values_are_not_random() {
    // With white space, or none at all
    for value in [
        "",
        "a b c d e f g h i j",
        "correct horse battery staple",
        "line\nkq3vz9xw7bm2tj5h",
        "{{ .Values.apiKey }}",
    ] {
        assert!(!looks_random(value), "{value}");
    }
    let kinds = [
        // Too short, or text
        "true k9x2vq7z changeme",
        // References
        r#"$(SIGNING_KEY_FROM_SECRET) ${API_TOKEN_kq3vz9xw7b} {{.xkvqjzwpmtrbgd}} <your-api-key-here>
        %(api_token_kq3vz9)s prefix-$(kq3vz9xw7bm2tj5h) <kq3vz9xw7bm2tj5h> {"kty":"RSA","kid":"kq3vz9xw7bm2"}
        [kq3vz9xw7bm2tj5h]"#,
        // Paths
        "/etc/ssl/private/server.key /var/run/secrets/kubernetes.io/serviceaccount/token ./certs/tls.key
        ../config/master.key ~/.ssh/id_ed25519 /run/secrets/8f14e45fceea167a config/certs/tls-key.pem
        usr/share/doc/libxkbcommon0/copyright secret/data/production/database /keys/signing-key-2024.jwk
        kv/data/x9k2/apps/q7v3z file:/etc/keys/tokens.json tokens.properties jwt-signing-key.p12",
        // URLs, hosts and addresses
        "https://auth.example.com/realms/main postgres://db.internal:5432/app vault.example.com:8200
        mydb.c9akciq32xyz.eu-west-1.rds.amazonaws.com auth-service.identity.svc.cluster.local admin@example.com
        token-issuer@my-project-4711.iam.gserviceaccount.com d-9067f2b1c3.awsapps.com:443 192.168.178.200
        10.96.0.0/12,10.244.0.0/16 2001:db8:85a3::8a2e:370:7334 255.255.255.255:65535",
        // Digests, images and ARNs
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        registry.example.com/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC
        arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-Ab12Cd
        arn:aws:kms:us-east-1:123456789012:key/3f2b8c1e-7d4a-4e9b-9c6f-1a2d5e8b7c40
        docker.io/bitnami/keycloak:26.3.2 quay.io/argoproj/argocd:v3.0.12",
        // Names of Kubernetes objects
        "my-secret-name-for-the-database web-5d4f8c7b9d-x2x4q kube-api-access-s8rz5
        ingress-nginx-admission-create kubernetes.io/service-account-token default-token-x7k9z
        release-keycloak-headless app.kubernetes.io/name cert-manager-webhook-ca
        prometheus-kube-prometheus-stack postgresql-ha-pgpool-custom-users argocd-initial-admin-secret
        external-secrets-webhook sealed-secrets-key bindery.dev/bound-by-namespace-bindings mydb01-binding
        system:serviceaccount:kube-system:default aws-load-balancer-controller ip-10-0-12-34-eu-west-1
        minio-root-user-credentials",
        // Numbers, versions and times
        "123456789012 1234567890123456 0.15.3-alpha.2 v1.33.2+k3s1 2024-05-17T08:30:00Z
        2024-05-17T08:30:00.123456+02:00 1h30m15s500ms 1717000000000 20240517083000 17.05.2024-08:30:00
        3.14159265358979 +49-89-123456-78",
        // Placeholders
        "aaaaaaaaaaaa xxxx-xxxx-xxxx 0000000000000000 abcdefghijklmnop 0123456789abcdef deadbeefdeadbeef
        00000000-0000-0000-0000-000000000000 **************** ................ a1b2c3d4e5f6g7h8
        0123456789abcdef0123456789abcdef changemechangeme XXXXXXXXXXXXXXXX ____________ 1111222233334444
        zyxwvutsrqponmlk ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        // Algorithms and methods
        "AES256-GCM HMAC-SHA256 RS256,ES256 ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384
        TLS_AES_128_GCM_SHA256 TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 client_secret_basic SASL_PLAINTEXT
        ssh-rsa ecdsa-sha2-nistp256 PBKDF2WithHmacSHA256 RSA-OAEP-256 aes-256-cbc-hmac-sha256 SCRAM-SHA-512
        private_key_jwt urn:ietf:params:oauth:grant-type:jwt-bearer authorization_code
        chacha20-poly1305@openssh.com DHE-RSA-AES256-SHA256:!aNULL:!MD5:!RC4 AES/CBC/PKCS5Padding argon2id
        bcrypt-sha256",
        // Classes and identifiers
        "org.apache.kafka.common.security.JaasLoginModule io.jsonwebtoken.SignatureAlgorithm
        sun.security.pkcs11.SunPKCS11 CamelCaseIdentifierName ThisIsNotASecret accesskey
        getAccessTokenFromHeader STRIPE_WEBHOOK_SECRET AWS_SECRET_ACCESS_KEY X-Forwarded-Access-Token
        spring.security.oauth2.client com.auth0.jwt.interfaces.JWTVerifier
        django.contrib.sessions.backends.signed_cookies DefaultAzureCredential HTTPSServerAuthentication
        oauth2-proxy-cookie-secret metadata.annotations OAuth2AuthorizationCodeResourceDetails
        X509CertificateCredential access_token,refresh_token,id_token read:user,write:packages,admin:org
        failover-us-gov-west-1 PostgreSQLDatabasePassword MySQL8-InnoDB-cluster",
        // Words
        "datenbankpasswort motdepassedebase DatenbankZugangsdaten geheimerschluessel contrasenasegura
        supersecretpassword thequickbrownfoxjumps correcthorsebatterystaple insecure-default-password
        not-a-real-token-just-for-tests replace-me-before-production dummy_value_for_ci
        TODO-set-this-in-production placeholder-for-signing-key Straßenbahnhaltestelle
        dev-only-secret-do-not-use your-256-bit-secret kubernetes-dashboard-csrf username:password
        internal,external,legacy",
    ];
    let values: Vec<&str> = kinds.iter().flat_map(|kind| kind.split_whitespace()).collect();
    assert!(values.len() >= 120);
    let wrong: Vec<_> = values.into_iter().filter(|value| looks_random(value)).collect();
    assert_eq!(wrong, Vec::<&str>::new());
}

#[test]
fn names_that_sound_like_credentials() {
    let names = "
        SIGNING_KEY API_TOKEN_PROD SESSION_SALT apiKey API_KEY_2 secretAccessKey DBPASS DB_PASS db-password
        x.y.token pwd MYSQL_PWD JWT jwtSecret bearer auth BASIC_AUTH creds credentials REDIS_PASSWD passphrase
        PASSCODE SLACK_WEBHOOK COOKIE PIN card-pin secretKeyBase SECRET_ID SESSION_ID TOKEN1 tokenProd
        private-key bypass-token monkeyToken KEYCLOAK_ADMIN_PASSWORD Dspring.datasource.password ENCRYPTIONKEY
        signature keys PASSWORD_HASH";
    for name in names.split_whitespace() {
        assert!(sounds_like_credential(name), "{name}");
    }
}

#[test]
fn other_names_do_not() {
    let names = "
        KEYBOARD monkey author passenger tokenizer compass KEYCLOAK bypass shopping SECRETARY TOKEN_FILE
        API_KEY_PATH privateKeyPath TOKEN_URL authUri SECRET_NAME accessKeyId KEY_ID TOKEN_TTL JWT_ALG
        jwtAlgorithm SECRET_ARN KEY_SIZE PASSWORD_MIN_LENGTH AUTH_ENABLED TOKEN_ISSUER auth-server SECRET_REF_2
        SSH_PUBLIC_KEY checksum/secret cookieDomain LOG_LEVEL IMAGE spinner WEBHOOK_PORT KEYSTORE_TYPE
        CERT_FINGERPRINT";
    for name in names.split_whitespace() {
        assert!(!sounds_like_credential(name), "{name}");
    }
}

#[test]
fn the_pattern_is_short_and_plain() {
    // The API server evaluates it too, for each name.
    assert!(NAMES.len() < 300);
    assert!(NAMES.is_ascii() && !NAMES.contains(['\\', '\'', '"', ' ']) && !NAMES.contains("(?"));
}

#[test]
fn arguments_have_names_and_values() {
    let arguments = [
        "serve",
        "--api-token=a",
        "-token=b",
        "API_TOKEN=c",
        "--session-salt",
        "d",
        "--verbose",
        "--other",
        "-p",
        "e",
        "--set",
        "auth.key=f",
        "--padded",
        "YWJj=",
        "--twice",
        "YWI==",
        "--empty=",
        "say hello=x",
        "--",
        "last",
    ];
    let found: Vec<_> = named_values_of_arguments(&arguments).collect();
    let expected = [
        ("api-token", "a"),
        ("token", "b"),
        ("API_TOKEN", "c"),
        ("session-salt", "d"),
        ("p", "e"),
        ("auth.key", "f"),
        ("padded", "YWJj="),
        ("twice", "YWI=="),
    ];
    assert_eq!(found, expected);
}
