// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Collateral} from "./attestation/Collateral.sol";
import {P256} from "./attestation/P256.sol";
import {Issuance, PckCertificates} from "./attestation/PckCertificates.sol";
import {Quotes} from "./attestation/Quotes.sol";
import {Issuer} from "./attestation/RevokedSerials.sol";
import {Tcb} from "./attestation/Tcb.sol";
import {CaWord, CollateralWord, RootWord} from "./attestation/Words.sol";
import {
    IAttestationVerifier,
    Pck,
    Quote,
    TcbStatus,
    Tee,
    Verdict
} from "./interfaces/IAttestationVerifier.sol";

/// @title Intel DCAP quotes verified on chain
/// @notice See `IAttestationVerifier`.
/// @dev Steps in comments are those of the verifier's checklist in `spec/attestation.md`.
contract AttestationVerifier is Collateral {
    uint256 private constant PCK_BYTES = 13 * 32;

    /// keccak256 of what a certificate says.
    mapping(bytes32 tbsHash => bytes32) private _pcks;

    /// @param root The root certificate in DER, pinned for good.
    constructor(bytes memory root) Collateral(root) {}

    /// @inheritdoc IAttestationVerifier
    function admitPck(bytes calldata leaf) external returns (Pck memory pck) {
        (pck,,) = _read(leaf);
        _remember(pck);
    }

    /// @inheritdoc IAttestationVerifier
    function verifyAndAdmit(Quote calldata quote, bytes calldata leaf)
        external
        returns (Verdict memory verdict)
    {
        (Pck memory pck, RootWord root, uint256 end) = _read(leaf);
        verdict = _judge(quote, pck, root, end);
        _remember(pck);
    }

    /// @inheritdoc IAttestationVerifier
    function verify(Quote calldata quote, bytes calldata leaf)
        external
        view
        returns (Verdict memory)
    {
        (Pck memory pck, RootWord root, uint256 end) = _read(leaf);
        return _judge(quote, pck, root, end);
    }

    /// @inheritdoc IAttestationVerifier
    function verifyKnown(Quote calldata quote, Pck calldata pck)
        external
        view
        returns (Verdict memory)
    {
        Pck memory said = _copy(pck);
        require(_pcks[said.tbsHash] == _hash(said), UnknownPck(said.tbsHash));
        (RootWord root, uint256 end) = _usableRoot();
        end = _standing(said, _usableCa(root, said.issuer), end);
        return _judge(quote, said, root, end);
    }

    /// @inheritdoc IAttestationVerifier
    function isKnown(Pck calldata pck) external view returns (bool) {
        return _pcks[pck.tbsHash] == _hash(_copy(pck));
    }

    function _remember(Pck memory pck) private {
        _pcks[pck.tbsHash] = _hash(pck);
    }

    /// As it comes: with other bits in its words than it may have, it has another hash.
    function _copy(Pck calldata pck) private pure returns (Pck memory said) {
        assembly ("memory-safe") {
            calldatacopy(said, pck, PCK_BYTES)
        }
    }

    /// The same as of its ABI encoding, which its words in memory are.
    function _hash(Pck memory pck) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            hash := keccak256(pck, PCK_BYTES)
        }
    }

    /// Steps 3 and 4 for a PCK certificate, and until when they hold.
    function _read(bytes calldata leaf)
        private
        view
        returns (Pck memory pck, RootWord root, uint256 end)
    {
        Issuance memory by;
        (pck, by) = PckCertificates.read(leaf);
        (root, end) = _usableRoot();
        CaWord word = _usableCa(root, by.keyId);
        Issuer memory issuer = _issuerOf(word);
        pck.issuer = _idOf(issuer);
        require(by.name == issuer.name, WrongIssuer(issuer.name, by.name));
        bool good = P256.verify(pck.tbsHash, by.r, by.s, issuer.x, issuer.y);
        require(good, BadSignature(Signed.Pck));
        end = _standing(pck, word, end);
    }

    /// What of steps 3 and 4 is to be asked each time: revocation and dates.
    function _standing(Pck memory pck, CaWord word, uint256 end) private view returns (uint256) {
        _requireNotRevoked(word, pck.serial);
        _requireNow(Signed.Pck, pck.notBefore, pck.notAfter);
        return _earlier(_earlier(end, word.end()), pck.notAfter);
    }

    /// All steps but those for the certificate, which hold until `end`.
    function _judge(Quote calldata quote, Pck memory pck, RootWord root, uint256 end)
        private
        view
        returns (Verdict memory verdict)
    {
        Quotes.Layout memory q = Quotes.open(quote);
        Tee tee = Quotes.isSgx(q) ? Tee.Sgx : Tee.Tdx;
        CollateralWord info = _usableTcbInfo(root, tee, pck.fmspc);
        require(info.pceId() == pck.pceId, Missing(Signed.TcbInfo, bytes32(pck.pceId)));
        CollateralWord identity = _usableQeIdentity(root, tee);
        verdict.evidence = _requireSignatures(q, pck);
        Quotes.requireAttributes(q);
        verdict.status = _status(q, pck, info, identity);
        verdict.tee = tee;
        verdict.evaluationNumber =
            uint32(_earlier(info.evaluationNumber(), identity.evaluationNumber()));
        verdict.expiry = uint40(_earlier(end, _earlier(info.end(), identity.end())));
        verdict.measurement = Quotes.measurement(q);
        verdict.machine = pck.machine;
        (verdict.reportData, verdict.nonce) = Quotes.reportData(q);
    }

    /// Step 6: from the PCK over the QE report and the attestation key to the quote.
    function _requireSignatures(Quotes.Layout memory q, Pck memory pck)
        private
        view
        returns (bytes32 evidence)
    {
        Quotes.Digests memory digests = Quotes.digests(q, pck.tbsHash);
        (bytes32 r, bytes32 s) = Quotes.qeSignature(q);
        bool good = P256.verify(digests.qeReport, r, s, pck.x, pck.y);
        require(good, BadSignature(Signed.QeReport));
        Quotes.requireKeyBound(q);
        bytes32 x;
        bytes32 y;
        (r, s, x, y) = Quotes.signature(q);
        require(P256.verify(digests.signed, r, s, x, y), BadSignature(Signed.Quote));
        return digests.evidence;
    }

    /// Steps 5 and 8: the levels of quoting enclave, platform and TDX module, as one status.
    function _status(
        Quotes.Layout memory q,
        Pck memory pck,
        CollateralWord info,
        CollateralWord identity
    ) private view returns (TcbStatus status) {
        TcbStatus ofQe = Tcb.quotingEnclave(_packed(identity), Quotes.qeReport(q));
        // As Intel's library has it: a quoting enclave is up to date, revoked, or out of date.
        if (ofQe != TcbStatus.UpToDate && ofQe != TcbStatus.Revoked) ofQe = TcbStatus.OutOfDate;
        bytes memory packed = _packed(info);
        if (Quotes.isSgx(q)) return _level(packed, pck, Tee.Sgx, 0, ofQe);
        bytes16 launch = Quotes.teeTcbSvn(q);
        Tcb.tdxModule(packed, launch, Quotes.tdxModule(q));
        status = _level(packed, pck, Tee.Tdx, launch, ofQe);
        if (!Quotes.isTd15(q)) return status;
        bytes16 current = Quotes.teeTcbSvn2(q);
        if (current == launch) return status;
        return Tcb.relaunch(status, _level(packed, pck, Tee.Tdx, current, ofQe));
    }

    /// The level of the platform at one TCB of its TDX module, together with the QE's.
    function _level(bytes memory packed, Pck memory pck, Tee tee, bytes16 svn, TcbStatus ofQe)
        private
        pure
        returns (TcbStatus status)
    {
        status = Tcb.converge(Tcb.platform(packed, tee, pck.cpuSvn, pck.pceSvn, svn), ofQe);
        require(status != TcbStatus.Revoked, TcbRevoked());
    }
}
