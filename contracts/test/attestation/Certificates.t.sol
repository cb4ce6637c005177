// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LibBytes} from "solady/utils/LibBytes.sol";
import {Certificate, Certificates} from "../../src/attestation/Certificates.sol";
import {IAttestationVerifier as V} from "../../src/interfaces/IAttestationVerifier.sol";
import {DerWriter} from "../DerWriter.sol";
import {RealQuotes} from "../RealQuotes.sol";
import {vm} from "../Vm.sol";
import {CertificateWriter as Writer} from "./CertificateWriter.sol";

/// The library behind external calls.
contract CertificateReading {
    function parse(bytes calldata der) external view returns (Certificate memory) {
        return Certificates.parse(der);
    }

    /// The first `length` bytes, with the rest right behind them in the call's data.
    function parsePrefix(bytes calldata der, uint256 length)
        external
        view
        returns (Certificate memory)
    {
        return Certificates.parse(der[:length]);
    }

    function requireCa(bytes calldata der) external view {
        Certificates.requireCa(Certificates.parse(der));
    }

    function requireEndEntity(bytes calldata der) external view {
        Certificates.requireEndEntity(Certificates.parse(der));
    }
}

contract CertificatesTest {
    using LibBytes for bytes;
    using Writer for Writer.Draft;

    // Selector, offset and length of the only argument.
    uint256 private constant DER = 4 + 2 * 32;
    uint256 private constant START = 1_700_000_000;
    uint256 private constant END = 1_800_000_000;
    bytes private constant INTEL_ROOT_NAME =
        hex"3068311a301806035504030c11496e74656c2053475820526f6f74204341311a3018060355040a0c11496e74656c20436f72706f726174696f6e3114301206035504070c0b53616e746120436c617261310b300906035504080c024341310b3009060355040613025553";
    bytes32 private constant INTEL_ROOT_KEY_ID =
        keccak256(hex"22650cd65a9d3489f383b49552bf501b392706ac");

    CertificateReading private immutable READING = new CertificateReading();

    // Intel's.

    function test_parse_readsIntelsRoot() public view {
        Certificate memory c = READING.parse(chain("tdx_quote", ".tcb_info_issuer_chain")[1]);
        vm.assertEq(c.serial, 0x0022650cd65a9d3489f383b49552bf501b392706ac, "serial");
        vm.assertEq(c.issuerName, keccak256(INTEL_ROOT_NAME), "issuer");
        vm.assertEq(c.subjectName, keccak256(INTEL_ROOT_NAME), "subject");
        vm.assertEq(c.notBefore, 1_526_899_510, "2018-05-21T10:45:10Z");
        vm.assertEq(c.notAfter, 2_524_607_999, "2049-12-31T23:59:59Z");
        vm.assertEq(
            c.x, bytes32(0x0ba9c4c0c0c86193a3fe23d6b02cda10a8bbd4e88e48b4458561a36e705525f5), "x"
        );
        vm.assertEq(
            c.y, bytes32(0x67918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b0904ae7394), "y"
        );
        vm.assertEq(c.authorityKeyId, INTEL_ROOT_KEY_ID, "authority");
        vm.assertEq(c.keyId, INTEL_ROOT_KEY_ID, "key id");
        vm.assertEq(c.keyUsage, 0x06, "usage");
        vm.assertEq(c.isCa, true, "CA");
        vm.assertEq(
            c.r, bytes32(0xe5bfe50911f92f428920dc368a302ee3d12ec5867ff622ec6497f78060c13c20), "r"
        );
        vm.assertEq(
            c.s, bytes32(0xe09d25ac7a0cb3e5e8e68fec5fa3bd416c47440bd950639d450edcbea4576aa2), "s"
        );
    }

    function test_parse_readsIntelsPlatformCa() public view {
        Certificate memory c = READING.parse(chain("tdx_quote", ".pck_crl_issuer_chain")[0]);
        vm.assertEq(c.serial, 0x00956f5dcdbd1be1e94049c9d4f433ce01570bde54, "serial");
        vm.assertEq(c.issuerName, keccak256(INTEL_ROOT_NAME), "issuer");
        vm.assertEq(c.notBefore, 1_526_899_810, "2018-05-21T10:50:10Z");
        vm.assertEq(c.notAfter, 2_000_285_410, "2033-05-21T10:50:10Z");
        vm.assertEq(c.authorityKeyId, INTEL_ROOT_KEY_ID, "authority");
        bytes memory keyId = hex"956f5dcdbd1be1e94049c9d4f433ce01570bde54";
        vm.assertEq(c.keyId, keccak256(keyId), "key id");
        vm.assertEq(c.isCa, true, "CA");
    }

    function test_parse_readsIntelsSigner() public view {
        Certificate memory c = READING.parse(chain("tdx_quote", ".tcb_info_issuer_chain")[0]);
        vm.assertEq(c.serial, 0x007e3882d5fb55294a40498e458403e91491bdf455, "serial");
        vm.assertEq(c.notAfter, 1_967_448_300, "2032-05-06T09:25:00Z");
        vm.assertEq(c.keyUsage, 0xc0, "usage");
        vm.assertEq(c.isCa, false, "CA");
    }

    function test_roles_ofIntelsCertificates() public {
        bytes[] memory ofCa = chain("sgx_quote", ".pck_crl_issuer_chain");
        bytes[] memory ofSigner = chain("sgx_quote", ".tcb_info_issuer_chain");
        READING.requireCa(ofCa[0]);
        READING.requireCa(ofCa[1]);
        READING.requireEndEntity(ofSigner[0]);
        lacks(V.CertificateFault.NotACa);
        READING.requireCa(ofSigner[0]);
        lacks(V.CertificateFault.IsACa);
        READING.requireEndEntity(ofCa[0]);
    }

    // Drafts.

    function test_parse_readsDrafts() public view {
        Writer.Draft memory draft = good();
        bytes memory der = draft.finish();
        Certificate memory c = READING.parse(der);
        vm.assertEq(c.tbsHash, sha256(draft.signedPart()), "tbsHash");
        (bytes32 r, bytes32 s) = vm.signP256(root().scalar, c.tbsHash);
        vm.assertEq(c.r, r, "r");
        vm.assertEq(c.s, s, "s");
        vm.assertEq(c.serial, uint160(bytes20(Writer.serialOf(subject()))), "serial");
        vm.assertEq(c.issuerName, keccak256(Writer.nameOf(root())), "issuer");
        vm.assertEq(c.subjectName, keccak256(Writer.nameOf(subject())), "subject");
        vm.assertEq(c.notBefore, START, "start");
        vm.assertEq(c.notAfter, END, "end");
        vm.assertEq(keccak256(bytes.concat(c.x, c.y)), Writer.idOf(subject()), "key");
        vm.assertEq(c.authorityKeyId, keccak256(Writer.keyIdOf(root())), "authority");
        vm.assertEq(c.keyId, keccak256(Writer.keyIdOf(subject())), "key id");
        vm.assertEq(c.keyUsage, 0x06, "usage");
        vm.assertEq(c.isCa, true, "CA");
    }

    function test_parse_takesExtensionsInAnyOrderAndMore() public view {
        Writer.Draft memory draft = good();
        (draft.authorityKeyId, draft.basicConstraints) =
        (draft.basicConstraints, draft.authorityKeyId);
        // CRL distribution points, and one of another arc.
        draft.more =
            bytes.concat(Writer.extension(hex"1f", hex"3000"), hex"300b06032a030404040102ff00");
        Certificate memory c = READING.parse(draft.finish());
        vm.assertEq(c.isCa, true, "CA");
        vm.assertEq(c.authorityKeyId, keccak256(Writer.keyIdOf(root())), "authority");
    }

    function test_parse_takesDatesFrom2050On() public view {
        Writer.Draft memory draft = good();
        bytes memory last = bytes.concat(hex"180f", "20991231235959Z");
        draft.validity = DerWriter.tlv(0x30, bytes.concat(DerWriter.utcTime(START), last));
        vm.assertEq(READING.parse(draft.finish()).notAfter, 4_102_444_799, "end");
    }

    function test_parse_readsPathLengths() public view {
        Writer.Draft memory draft = good();
        draft.basicConstraints = Writer.criticalExtension(hex"13", hex"30030101ff");
        vm.assertEq(READING.parse(draft.finish()).isCa, true, "without one");
        draft.basicConstraints = Writer.criticalExtension(hex"13", hex"30060101ff020105");
        vm.assertEq(READING.parse(draft.finish()).isCa, true, "with one");
    }

    function test_parse_refusesOtherVersions() public {
        Writer.Draft memory draft = good();
        draft.version = hex"a003020101";
        refuses(draft, bodyOf(draft));
        draft.version = "";
        refuses(draft, bodyOf(draft));
    }

    function test_parse_refusesOtherAlgorithms() public {
        Writer.Draft memory draft = good();
        // ecdsa-with-SHA384.
        draft.algorithm = hex"300a06082a8648ce3d040303";
        refusesFor(draft, V.CertificateFault.Algorithm);
        // The same outside of the signed part.
        bytes memory der = good().finish();
        uint256 outside = 4 + good().signedPart().length + 11;
        vm.assertEq(uint8(der[outside]), 0x02, "last byte of the algorithm");
        der[outside] = 0x03;
        lacks(V.CertificateFault.Algorithm);
        READING.parse(der);
    }

    function test_parse_refusesOtherKeys() public {
        Writer.Draft memory draft = good();
        // secp256k1; a compressed point; unused bits.
        draft.key =
            bytes.concat(hex"3056301006072a8648ce3d020106052b8104000a03420004", new bytes(64));
        refusesFor(draft, V.CertificateFault.Algorithm);
        draft.key = bytes.concat(
            hex"3039301306072a8648ce3d020106082a8648ce3d030107032200", hex"02", new bytes(32)
        );
        refusesFor(draft, V.CertificateFault.Algorithm);
        draft.key = good().key;
        draft.key[25] = 0x01;
        refusesFor(draft, V.CertificateFault.Algorithm);
    }

    function test_parse_refusesUnknownCriticalExtensions() public {
        Writer.Draft memory draft = good();
        // Name constraints; of another arc.
        draft.more = Writer.criticalExtension(hex"1e", hex"3000");
        refusesFor(draft, V.CertificateFault.UnknownCriticalExtension);
        draft.more = hex"300d06032a03040101ff0403020105";
        refusesFor(draft, V.CertificateFault.UnknownCriticalExtension);
    }

    function test_parse_refusesAnExtensionTwice() public {
        Writer.Draft memory draft = good();
        bytes[4] memory twice =
            [draft.authorityKeyId, draft.keyId, draft.keyUsage, draft.basicConstraints];
        for (uint256 i; i < 4; ++i) {
            draft.more = twice[i];
            refuses(draft, draft.signedPart().length - twice[i].length);
        }
    }

    function test_parse_refusesABooleanThatIsNotTrue() public {
        Writer.Draft memory draft = good();
        draft.more = hex"300a0603551d1e010100040130";
        refuses(draft, draft.signedPart().length - 13 + 2 + 5);
        draft.more = hex"";
        draft.basicConstraints = Writer.criticalExtension(hex"13", hex"3003010100");
        refuses(draft, draft.signedPart().length - 3);
    }

    function test_parse_refusesUsagesWithBitsThatAreNotThere() public {
        Writer.Draft memory draft = good();
        // Nine unused bits, and unused bits that are set.
        bytes[3] memory usages = [bytes(hex"03020906"), hex"03020206", hex"0303048001"];
        for (uint256 i; i < 3; ++i) {
            draft.keyUsage = Writer.criticalExtension(hex"0f", usages[i]);
            uint256 behind = draft.basicConstraints.length + usages[i].length;
            refuses(draft, draft.signedPart().length - behind);
        }
    }

    function test_parse_refusesPathLengthsOfTwoBytes() public {
        Writer.Draft memory draft = good();
        draft.basicConstraints = Writer.criticalExtension(hex"13", hex"30070101ff02020100");
        refuses(draft, draft.signedPart().length - 4);
        draft.basicConstraints = Writer.criticalExtension(hex"13", hex"30070101ff020200ff");
        READING.parse(draft.finish());
    }

    function test_parse_refusesBytesBehindAnything() public {
        Writer.Draft memory draft = good();
        bytes memory signedPart = draft.signedPart();
        bytes memory der = draft.finish();
        // Behind the certificate.
        badDer(DER + der.length);
        READING.parse(bytes.concat(der, hex"00"));
        // Behind the values of extensions.
        draft.keyId = Writer.extension(
            hex"0e", bytes.concat(DerWriter.tlv(0x04, Writer.keyIdOf(subject())), hex"00")
        );
        refuses(draft, keyIdAt(draft) + 9 + 22);
        draft = good();
        bytes memory inner = DerWriter.tlv(0x80, Writer.keyIdOf(root()));
        draft.authorityKeyId =
            Writer.extension(hex"23", DerWriter.tlv(0x30, bytes.concat(inner, hex"8200")));
        refuses(draft, authorityAt(draft) + 11 + inner.length);
        // Behind the sequence of the value, and behind the value.
        draft.authorityKeyId = Writer.extension(hex"23", bytes.concat(hex"3014", inner));
        refuses(draft, authorityAt(draft) + 9 + 2 + 20);
        draft = good();
        bytes memory value = DerWriter.tlv(0x04, DerWriter.tlv(0x04, Writer.keyIdOf(subject())));
        draft.keyId = DerWriter.tlv(0x30, bytes.concat(hex"0603551d0e", value, hex"0500"));
        refuses(draft, keyIdAt(draft) + 7 + value.length);
        // Behind a value that is not looked at.
        draft = good();
        draft.more = hex"300b0603551d1f040230000500";
        refuses(draft, draft.signedPart().length - 2);
        draft = good();
        draft.validity = DerWriter.tlv(
            0x30, bytes.concat(DerWriter.utcTime(START), DerWriter.utcTime(END), hex"00")
        );
        refuses(draft, bodyOf(draft) + 5 + draft.serial.length + 12 + draft.issuer.length + 32);
        // Behind the signed part's extensions.
        signedPart = bytes.concat(DerWriter.tlv(0x30, inSequence(good().signedPart(), hex"0500")));
        der = DerWriter.signed(signedPart, root().scalar);
        badDer(DER + 4 + signedPart.length - 2);
        READING.parse(der);
    }

    function test_parse_refusesBytesBehindUsageAndConstraints() public {
        Writer.Draft memory draft = good();
        // In a critical extension the value begins behind twelve bytes.
        uint256 offset = keyIdAt(draft) + draft.keyId.length + 12;
        draft.keyUsage = Writer.criticalExtension(hex"0f", hex"0302010600");
        refuses(draft, offset + 4);
        draft = good();
        offset += draft.keyUsage.length;
        draft.basicConstraints = Writer.criticalExtension(hex"13", hex"30000101ff");
        refuses(draft, offset + 2);
        draft.basicConstraints = Writer.criticalExtension(hex"13", hex"30080101ff0201000500");
        refuses(draft, offset + 8);
    }

    /// What would be read if only one of the two lengths around the extensions counted.
    function test_parse_refusesLengthsOfExtensionsThatDoNotFit() public {
        Writer.Draft memory draft = good();
        bytes memory signedPart = draft.signedPart();
        uint256 start = authorityAt(draft);
        vm.assertEq(uint8(signedPart[start - 4]), 0xa3, "[3]");
        signedPart[start - 3] = bytes1(uint8(signedPart[start - 3]) - 1);
        refusesSigned(signedPart, signedPart.length - 1);
        signedPart = draft.signedPart();
        signedPart[start - 1] = bytes1(uint8(draft.authorityKeyId.length));
        refusesSigned(signedPart, start + draft.authorityKeyId.length);
    }

    function test_parse_refusesOtherSignatures() public {
        bytes memory signedPart = good().signedPart();
        bytes memory head = bytes.concat(signedPart, hex"300a06082a8648ce3d040302");
        uint256 offset = DER + 4 + head.length;
        // Unused bits; a sequence that is too short, too long, too short together with the bits;
        // three numbers; a negative one.
        bytes[6] memory bits = [
            bytes(hex"0309013006020101020101"),
            hex"0309003005020101020101",
            hex"0309003007020101020101",
            hex"0308003005020101020101",
            hex"030c003009020101020101020101",
            hex"0309003006020181020101"
        ];
        uint256[6] memory places = [offset, offset, offset, offset, offset + 11, offset + 5];
        for (uint256 i; i < 6; ++i) {
            bytes memory der = DerWriter.tlv(0x30, bytes.concat(head, bits[i]));
            badDer(places[i]);
            READING.parse(der);
        }
    }

    function test_requireCa_needsItsUsagesAndAKeyId() public {
        Writer.Draft memory draft = good();
        draft.basicConstraints = "";
        refusesCa(draft, V.CertificateFault.NotACa);
        draft = good();
        draft.basicConstraints = Writer.LEAF_CONSTRAINTS;
        refusesCa(draft, V.CertificateFault.NotACa);
        draft = good();
        draft.keyUsage = "";
        refusesCa(draft, V.CertificateFault.KeyUsage);
        draft.keyUsage = Writer.criticalExtension(hex"0f", hex"03020204");
        refusesCa(draft, V.CertificateFault.KeyUsage);
        draft.keyUsage = Writer.criticalExtension(hex"0f", hex"03020102");
        refusesCa(draft, V.CertificateFault.KeyUsage);
        draft = good();
        draft.keyId = "";
        refusesCa(draft, V.CertificateFault.NoKeyIdentifier);
    }

    function test_requireEndEntity_needsItsUsage() public {
        Writer.Draft memory draft = Writer.signer(root(), subject(), START, END);
        READING.requireEndEntity(draft.finish());
        draft.keyUsage = Writer.criticalExtension(hex"0f", hex"03020640");
        refusesEndEntity(draft, V.CertificateFault.KeyUsage);
        draft.keyUsage = "";
        refusesEndEntity(draft, V.CertificateFault.KeyUsage);
    }

    // Cut and changed.

    function test_parse_refusesACertificateThatIsCutAnywhere() public view {
        bytes memory der = chain("tdx_quote", ".tcb_info_issuer_chain")[0];
        for (uint256 length; length < der.length; ++length) {
            bytes memory call = abi.encodeCall(READING.parsePrefix, (der, length));
            (bool ran, bytes memory why) = address(READING).staticcall(call);
            vm.assertEq(ran, false, "cut");
            vm.assertEq(bytes32(bytes4(why)), bytes32(V.BadDer.selector), "error");
        }
    }

    /// A changed byte is refused or signed: nothing outside of the signed part changes what is
    /// read, but for the signature itself.
    function test_parse_hashesEveryByteThatItReads() public view {
        bytes memory der = chain("tdx_quote", ".pck_crl_issuer_chain")[0];
        Certificate memory c = READING.parse(der);
        for (uint256 i; i < der.length; ++i) {
            der[i] ^= 0x01;
            bytes memory call = abi.encodeCall(READING.parse, (der));
            (bool ran, bytes memory result) = address(READING).staticcall(call);
            der[i] ^= 0x01;
            if (!ran) continue;
            Certificate memory changed = abi.decode(result, (Certificate));
            bool hashed = changed.tbsHash != c.tbsHash;
            bool signature = changed.r != c.r || changed.s != c.s;
            vm.assertEq(hashed || signature, true, "noticed");
        }
    }

    // Making of.

    function root() private pure returns (Writer.Party memory) {
        return Writer.Party("Root", 1001);
    }

    function subject() private pure returns (Writer.Party memory) {
        return Writer.Party("A CA with a name that is long enough for both lengths", 1002);
    }

    function good() private pure returns (Writer.Draft memory) {
        return Writer.ca(root(), subject(), START, END);
    }

    function chain(string memory file, string memory member) private view returns (bytes[] memory) {
        string memory json = RealQuotes.collateral(file);
        return RealQuotes.certificates(vm.parseJsonString(json, member));
    }

    function inSequence(bytes memory der, bytes memory more) private pure returns (bytes memory) {
        (uint256 content,) = DerWriter.header(der, 0);
        return bytes.concat(der.slice(content), more);
    }

    /// Offset of the version in the signed part. Both sequences have two bytes of length.
    function bodyOf(Writer.Draft memory draft) private pure returns (uint256 content) {
        (content,) = DerWriter.header(draft.signedPart(), 0);
    }

    function authorityAt(Writer.Draft memory draft) private pure returns (uint256) {
        return keyIdAt(draft) - draft.authorityKeyId.length;
    }

    function keyIdAt(Writer.Draft memory draft) private pure returns (uint256) {
        return draft.signedPart().length - draft.keyId.length - draft.keyUsage.length
            - draft.basicConstraints.length - draft.more.length;
    }

    /// `offset` is in the signed part, which begins behind four bytes.
    function refuses(Writer.Draft memory draft, uint256 offset) private {
        bytes memory der = draft.finish();
        badDer(DER + 4 + offset);
        READING.parse(der);
    }

    function refusesSigned(bytes memory signedPart, uint256 offset) private {
        bytes memory der = DerWriter.signed(signedPart, root().scalar);
        badDer(DER + 4 + offset);
        READING.parse(der);
    }

    function refusesFor(Writer.Draft memory draft, V.CertificateFault fault) private {
        bytes memory der = draft.finish();
        lacks(fault);
        READING.parse(der);
    }

    function refusesCa(Writer.Draft memory draft, V.CertificateFault fault) private {
        bytes memory der = draft.finish();
        lacks(fault);
        READING.requireCa(der);
    }

    function refusesEndEntity(Writer.Draft memory draft, V.CertificateFault fault) private {
        bytes memory der = draft.finish();
        lacks(fault);
        READING.requireEndEntity(der);
    }

    function badDer(uint256 offset) private {
        vm.expectRevert(abi.encodeWithSelector(V.BadDer.selector, offset));
    }

    function lacks(V.CertificateFault fault) private {
        vm.expectRevert(abi.encodeWithSelector(V.BadCertificate.selector, fault));
    }
}
