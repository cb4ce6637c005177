// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What made a quote.
enum Tee {
    Sgx,
    Tdx
}

/// @notice Intel's verdict on the security versions of a platform, in Intel's words.
/// `TDRelaunchAdvised…` exists for TD 1.5 alone: launched out of date, brought up to date since.
enum TcbStatus {
    UpToDate,
    SWHardeningNeeded,
    ConfigurationNeeded,
    ConfigurationAndSWHardeningNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
    Revoked,
    TDRelaunchAdvised,
    TDRelaunchAdvisedConfigurationNeeded
}

/// @notice What a verified PCK certificate says about its machine.
/// @param tbsHash SHA-256 of the certificate's signed part.
/// @param x Public key, P-256.
/// @param y Public key, P-256.
/// @param issuer `keccak256(x ‖ y)` of the CA that signed it.
/// @param serial Serial number.
/// @param machine SHA-256("phallama/1 machine" ‖ 0 ‖ PPID): one value per machine.
/// @param instance Platform instance id; zero for certificates of the Processor CA.
/// @param cpuSvn Security versions of the 16 components, first component in the first byte.
/// @param fmspc Processor family.
/// @param pceId Provisioning enclave.
/// @param pceSvn Security version of the provisioning enclave.
/// @param notBefore Unix seconds, first second of validity.
/// @param notAfter Unix seconds, last second of validity.
struct Pck {
    bytes32 tbsHash;
    bytes32 x;
    bytes32 y;
    bytes32 issuer;
    uint256 serial;
    bytes32 machine;
    bytes16 instance;
    bytes16 cpuSvn;
    bytes6 fmspc;
    bytes2 pceId;
    uint16 pceSvn;
    uint40 notBefore;
    uint40 notAfter;
}

/// @notice A quote cut into the parts that are checked. `phallama-attest` does the cutting.
/// @param signed Header and body, what the attestation key signed: 432 bytes (SGX v3), 632 (TDX
/// v4), 638, 702 or 939 (TDX v5: TD 1.0, 1.5, 1.5ex).
/// @param auth 608 bytes: signature 64 | attestation key 64 | QE report 384 | its signature 64 | QE
/// authentication data 32.
struct Quote {
    bytes signed;
    bytes auth;
}

/// @notice What a quote that passed every check says.
/// @param tee See `Tee`.
/// @param status Platform, TDX module and quoting enclave together; never `Revoked`.
/// @param evaluationNumber The lower of the two TCB evaluation data numbers used.
/// @param expiry Unix seconds: from this second on the verdict needs newer collateral.
/// @param measurement SGX: MRENCLAVE. TDX: SHA-256("phallama/1 td measurement" ‖ 0 ‖ MRTD ‖
/// MRCONFIGID ‖ MROWNER ‖ MROWNERCONFIG ‖ RTMR0 ‖ RTMR1 ‖ RTMR2 ‖ RTMR3).
/// @param machine See `Pck.machine`.
/// @param evidence SHA-256(signed ‖ QE report ‖ tbsHash of the PCK certificate): everything that
/// hardware and Intel said, and nothing that a third party could vary.
/// @param reportData First 32 bytes of the report data.
/// @param nonce Last 32 bytes of the report data.
struct Verdict {
    Tee tee;
    TcbStatus status;
    uint32 evaluationNumber;
    uint40 expiry;
    bytes32 measurement;
    bytes32 machine;
    bytes32 evidence;
    bytes32 reportData;
    bytes32 nonce;
}

/// @title Intel DCAP quotes verified on chain
/// @notice Verifies SGX quotes v3 and TDX quotes v4 and v5 against one pinned root certificate and
/// collateral that anyone may bring. Nobody owns it, nothing in it can be changed: collateral only
/// gets newer, and whatever is missing, expired or unknown refuses the quote.
/// @dev Trusts the root's key, the P-256 precompile at 0x100 (probed at deployment) and
/// `block.timestamp`. "Expired" everywhere means `block.timestamp >= end`.
interface IAttestationVerifier {
    /// @notice A certificate authority for PCK certificates was admitted.
    event CaAdmitted(bytes32 indexed ca, uint256 serial, uint40 notAfter);
    /// @notice A signer of TCB information and QE identities was admitted.
    event SignerAdmitted(bytes32 indexed signer, uint256 serial, uint40 notAfter);
    /// @notice The revocation list of `issuer` is now number `number` with `count` serials.
    event CrlUpserted(
        bytes32 indexed issuer, uint256 number, uint40 thisUpdate, uint40 nextUpdate, uint256 count
    );
    /// @notice The TCB information of a processor family is now `json`, advisories included.
    event TcbInfoUpserted(
        Tee indexed tee,
        bytes6 indexed fmspc,
        uint32 evaluationNumber,
        uint40 issuedAt,
        uint40 nextUpdate,
        string json
    );
    /// @notice The identity of the quoting enclave for `tee` is now `json`.
    event QeIdentityUpserted(
        Tee indexed tee, uint32 evaluationNumber, uint40 issuedAt, uint40 nextUpdate, string json
    );

    /// @notice The P-256 precompile at 0x100 is missing or wrong on this chain.
    error NoP256Precompile();
    /// @notice DER that is not the expected element at byte `offset` of the call's data.
    error BadDer(uint256 offset);
    /// @notice A certificate lacks what its role needs.
    error BadCertificate(CertificateFault fault);
    /// @notice A signature does not verify.
    error BadSignature(Signed what);
    /// @notice A certificate or a list was issued by somebody else: keccak256 of Names or of key
    /// identifiers.
    error WrongIssuer(bytes32 expected, bytes32 got);
    /// @notice The issuer is not admitted: its id, or keccak256 of its key identifier.
    error UnknownCa(bytes32 ca);
    /// @notice The signer is not admitted.
    error UnknownSigner(bytes32 signer);
    /// @notice Valid from `start` up to, not including, `end` (unix seconds).
    error NotValidNow(Signed what, uint256 start, uint256 end, uint256 time);
    /// @notice Its issuer has revoked the certificate.
    error Revoked(Signed what, uint256 serial);
    /// @notice No more than `max` certificates of this kind can be admitted.
    error TooMany(Signed what, uint256 max);
    /// @notice There is none yet, or none for this platform. Bring it first.
    /// @param key Of a list: its issuer's id. Of TCB information and QE identities: the FMSPC in the
    /// first six bytes, `what` and the TEE in the last two. Or the PCE id of another one's
    /// information, in the first two.
    error Missing(Signed what, bytes32 key);
    /// @notice What is stored is as new or newer: dates in unix seconds, numbers of lists, or
    /// evaluation numbers.
    error NotNewer(Signed what, uint256 stored, uint256 offered);
    /// @notice JSON differs from Intel's canonical form at byte `offset`.
    error BadJson(uint256 offset);
    /// @notice A part of the quote has the wrong length in bytes.
    error BadLength(QuotePart part, uint256 got);
    /// @notice Version, TEE type, key type, vendor or body type is not one that is verified here.
    error UnsupportedQuote(QuotePart part, uint256 got);
    /// @notice The QE report does not commit to the attestation key.
    error AttestationKeyNotBound(bytes32 expected, bytes32 got);
    /// @notice The quoting enclave is not the one Intel names.
    error WrongQuotingEnclave(QeField field, bytes32 expected, bytes32 got);
    /// @notice The quoting enclave's security version is below every level.
    error NoQeLevel(uint256 isvSvn);
    /// @notice The platform is below every level of the TCB information.
    error NoTcbLevel(bytes16 cpuSvn, uint16 pceSvn, bytes16 teeTcbSvn);
    /// @notice The TDX module's version is unknown, or below every level of it.
    error NoTdxModuleLevel(uint256 moduleVersion, uint256 isvSvn);
    /// @notice The TDX module is signed by somebody else or has other attributes: digests
    /// `keccak256(MRSIGNERSEAM ‖ SEAMATTRIBUTES)`.
    error WrongTdxModule(bytes32 expected, bytes32 got);
    /// @notice Intel has revoked the platform's or the quoting enclave's TCB level.
    error TcbRevoked();
    /// @notice An attribute that must not be set is set, or one that must be set is not: bits that
    /// differ.
    error ForbiddenAttributes(uint256 attributes, uint256 forbidden);
    /// @notice The trust domain is bound to a service TD, which could take it elsewhere.
    error BoundToServiceTd();
    /// @notice A remembered PCK certificate does not say this.
    error UnknownPck(bytes32 tbsHash);

    /// @notice What was signed, issued or stored.
    enum Signed {
        Root,
        Ca,
        Signer,
        Pck,
        RootCrl,
        PckCrl,
        TcbInfo,
        QeIdentity,
        QeReport,
        Quote
    }

    /// @notice Which requirement a certificate misses.
    enum CertificateFault {
        NotACa,
        IsACa,
        KeyUsage,
        Algorithm,
        UnknownCriticalExtension,
        NoSgxExtension,
        SgxField,
        NoKeyIdentifier
    }

    /// @notice A part of a quote.
    enum QuotePart {
        Signed,
        Auth,
        Version,
        KeyType,
        TeeType,
        Vendor,
        BodyType,
        BodySize
    }

    /// @notice A field of the QE report.
    enum QeField {
        MrSigner,
        IsvProdId,
        MiscSelect,
        Attributes
    }

    /// @notice Admits a CA for PCK certificates that the root signed. Anyone may call.
    /// @param der Certificate in DER.
    /// @return ca `keccak256(x ‖ y)`.
    function admitCa(bytes calldata der) external returns (bytes32 ca);

    /// @notice Admits a signer of TCB information that the root signed. Anyone may call.
    /// @param der Certificate in DER.
    /// @return signer `keccak256(x ‖ y)`.
    function admitSigner(bytes calldata der) external returns (bytes32 signer);

    /// @notice Replaces a revocation list by a newer one. Anyone may call.
    /// @param issuer An admitted CA, or `ROOT` for the root's own list.
    /// @param der Certificate revocation list in DER.
    function upsertCrl(bytes32 issuer, bytes calldata der) external;

    /// @notice Replaces the TCB information of a processor family by a newer one. Anyone may call.
    /// @param json The signed text of `tcbInfo`, byte for byte.
    /// @param signature r ‖ s.
    /// @param signer An admitted signer.
    function upsertTcbInfo(bytes calldata json, bytes calldata signature, bytes32 signer) external;

    /// @notice Replaces the identity of a quoting enclave by a newer one. Anyone may call.
    /// @param json The signed text of `enclaveIdentity`, byte for byte.
    /// @param signature r ‖ s.
    /// @param signer An admitted signer.
    function upsertQeIdentity(bytes calldata json, bytes calldata signature, bytes32 signer)
        external;

    /// @notice Verifies a PCK certificate and remembers it, so that later quotes of the machine
    /// need not carry it. Anyone may call.
    /// @param leaf Certificate in DER.
    function admitPck(bytes calldata leaf) external returns (Pck memory pck);

    /// @notice Verifies a quote and the PCK certificate it was made under.
    function verify(Quote calldata quote, bytes calldata leaf)
        external
        view
        returns (Verdict memory);

    /// @notice Verifies a quote of a machine whose PCK certificate is remembered.
    function verifyKnown(Quote calldata quote, Pck calldata pck)
        external
        view
        returns (Verdict memory);

    /// @notice `verify`, and remembers the PCK certificate as `admitPck` does. Anyone may call.
    function verifyAndAdmit(Quote calldata quote, bytes calldata leaf)
        external
        returns (Verdict memory);

    /// @notice `keccak256(x ‖ y)` of the pinned root's key: the issuer of its own list.
    function ROOT() external view returns (bytes32);

    /// @notice SHA-256 of the pinned root certificate in DER.
    function ROOT_CERTIFICATE_SHA256() external view returns (bytes32);

    /// @notice Whether `pck` is remembered, field for field.
    function isKnown(Pck calldata pck) external view returns (bool);

    /// @notice State of a CA, by id: last second of its validity, next update and number of its
    /// list (zero: none yet), and whether the root has revoked it. All zero if it is not admitted.
    function ca(bytes32 id)
        external
        view
        returns (uint40 notAfter, uint40 crlNextUpdate, uint256 crlNumber, bool revoked);

    /// @notice Next update and number of the root's list; zero: none yet.
    function rootCrl() external view returns (uint40 nextUpdate, uint256 number);

    /// @notice Whether a signer is admitted and not revoked, and the last second of its validity.
    function signer(bytes32 id) external view returns (bool good, uint40 notAfter);

    /// @notice What is stored for a processor family; all zero if nothing is.
    function tcbInfo(Tee tee, bytes6 fmspc)
        external
        view
        returns (uint32 evaluationNumber, uint40 issuedAt, uint40 nextUpdate);

    /// @notice What is stored for the quoting enclave of `tee`; all zero if nothing is.
    function qeIdentity(Tee tee)
        external
        view
        returns (uint32 evaluationNumber, uint40 issuedAt, uint40 nextUpdate);
}
