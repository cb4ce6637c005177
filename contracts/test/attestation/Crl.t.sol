// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LibBytes} from "solady/utils/LibBytes.sol";
import {Crl, Crls} from "../../src/attestation/Crl.sol";
import {IAttestationVerifier as V} from "../../src/interfaces/IAttestationVerifier.sol";
import {DerWriter} from "../DerWriter.sol";
import {RealQuotes} from "../RealQuotes.sol";
import {bound, vm} from "../Vm.sol";
import {CertificateWriter as Writer} from "./CertificateWriter.sol";

/// The library behind external calls.
contract CrlReading {
    function parse(bytes calldata der) external view returns (Crl memory) {
        return Crls.parse(der);
    }

    /// The first `length` bytes, with the rest right behind them in the call's data.
    function parsePrefix(bytes calldata der, uint256 length) external view returns (Crl memory) {
        return Crls.parse(der[:length]);
    }
}

contract CrlTest {
    using LibBytes for bytes;

    /// A list in the making. What is bytes is DER.
    struct Draft {
        bytes version;
        bytes algorithm;
        bytes issuer;
        bytes thisUpdate;
        bytes nextUpdate;
        bytes revoked;
        bytes extensions;
    }

    // Selector, offset and length of the only argument.
    uint256 private constant DER = 4 + 2 * 32;
    uint256 private constant START = 1_700_000_000;
    uint256 private constant END = 1_800_000_000;
    bytes private constant NUMBER_7 = hex"300a0603551d140403020107";

    CrlReading private immutable READING = new CrlReading();

    // Intel's.

    function test_parse_readsIntelsLists() public view {
        // Number of serials, dates.
        Crl memory crl = real("sgx_quote", ".root_ca_crl", 0, 1_742_469_717, 1_775_215_317);
        bytes memory keyId = hex"22650cd65a9d3489f383b49552bf501b392706ac";
        vm.assertEq(crl.authorityKeyId, keccak256(keyId), "root");
        crl = real("sgx_quote", ".pck_crl", 0, 1_750_328_598, 1_752_920_598);
        keyId = hex"d0e8aada75d7f92e4917983c7b1465d0d5f2594d";
        vm.assertEq(crl.authorityKeyId, keccak256(keyId), "Processor CA");
        crl = real("tdx_quote", ".pck_crl", 44, 1_750_327_235, 1_752_919_235);
        keyId = hex"956f5dcdbd1be1e94049c9d4f433ce01570bde54";
        vm.assertEq(crl.authorityKeyId, keccak256(keyId), "Platform CA");
        uint256 first = 0x006fc34e5023e728923435d61aa4b83c618166ad35;
        uint256 last = 0x00a17c51722ec1e0c3278fe8bdf052059cbec4e648;
        vm.assertEq(crl.serials[0], hashOf(first), "first serial");
        vm.assertEq(crl.serials[43], hashOf(last), "last serial");
        real("tdx_quote_td15ex", ".pck_crl", 57, 1_791_419_306, 1_794_011_306);
        real("tdx_quote_td15ex", ".root_ca_crl", 0, 1_772_111_040, 1_803_647_040);
    }

    function test_parse_refusesAListThatIsCutAnywhere() public view {
        string memory json = RealQuotes.collateral("tdx_quote");
        bytes memory der = vm.parseBytes(string.concat("0x", vm.parseJsonString(json, ".pck_crl")));
        for (uint256 length; length < der.length; length += 1 + length / 200) {
            bytes memory call = abi.encodeCall(READING.parsePrefix, (der, length));
            (bool ran, bytes memory why) = address(READING).staticcall(call);
            vm.assertEq(ran, false, "cut");
            vm.assertEq(bytes32(bytes4(why)), bytes32(V.BadDer.selector), "error");
        }
    }

    // Drafts.

    function testFuzz_parse_readsSerials(uint256 count, uint256 seed) public view {
        count = bound(count, 0, 40);
        bytes memory entries;
        for (uint256 i; i < count; ++i) {
            entries = bytes.concat(entries, entry(serialAt(seed, i), i % 3 != 0));
        }
        Draft memory draft = good();
        draft.revoked = count == 0 ? bytes("") : DerWriter.tlv(0x30, entries);
        Crl memory crl = READING.parse(finish(draft));
        vm.assertEq(crl.tbsHash, sha256(signedPart(draft)), "tbsHash");
        (bytes32 r, bytes32 s) = vm.signP256(issuer().scalar, crl.tbsHash);
        vm.assertEq(crl.r, r, "r");
        vm.assertEq(crl.s, s, "s");
        vm.assertEq(crl.number, 7, "number");
        vm.assertEq(crl.issuerName, keccak256(Writer.nameOf(issuer())), "issuer");
        vm.assertEq(crl.authorityKeyId, keccak256(Writer.keyIdOf(issuer())), "key id");
        vm.assertEq(crl.thisUpdate, START, "this update");
        vm.assertEq(crl.nextUpdate, END, "next update");
        vm.assertEq(crl.serials.length, count, "serials");
        for (uint256 i; i < count; ++i) {
            vm.assertEq(crl.serials[i], hashOf(serialAt(seed, i)), "serial");
        }
    }

    function test_parse_takesExtensionsThatNeedNotBeKnown() public view {
        Draft memory draft = good();
        draft.extensions = bytes.concat(Writer.extension(hex"1f", hex"3000"), draft.extensions);
        bytes memory more = DerWriter.tlv(0x30, Writer.extension(hex"18", hex"1800"));
        bytes memory one = bytes.concat(hex"020101", DerWriter.utcTime(START), more);
        draft.revoked = DerWriter.tlv(0x30, DerWriter.tlv(0x30, one));
        vm.assertEq(READING.parse(finish(draft)).serials.length, 1, "serials");
    }

    function test_parse_withoutExtensionsHasNoNumberAndNoAuthority() public view {
        Draft memory draft = good();
        draft.extensions = "";
        Crl memory crl = READING.parse(finish(draft));
        vm.assertEq(crl.number, 0, "number");
        vm.assertEq(crl.authorityKeyId, bytes32(0), "key id");
    }

    function test_parse_readsNumbersBelow2To96() public {
        Draft memory draft = good();
        bytes memory authority = Writer.authorityKeyIdOf(issuer());
        bytes memory most = DerWriter.integer(abi.encodePacked(type(uint96).max));
        draft.extensions = bytes.concat(Writer.extension(hex"14", most), authority);
        vm.assertEq(READING.parse(finish(draft)).number, type(uint96).max, "number");
        bytes memory tooGreat = DerWriter.integer(abi.encodePacked(uint256(1 << 96)));
        draft.extensions = bytes.concat(authority, Writer.extension(hex"14", tooGreat));
        refuses(draft, signedPart(draft).length - tooGreat.length);
    }

    // One thing wrong.

    function test_parse_refusesOtherVersions() public {
        Draft memory draft = good();
        draft.version = hex"020100";
        refuses(draft, bodyOf(draft));
        draft.version = "";
        refuses(draft, bodyOf(draft));
    }

    function test_parse_refusesOtherAlgorithms() public {
        Draft memory draft = good();
        draft.algorithm = hex"300a06082a8648ce3d040303";
        lacks(draft, V.CertificateFault.Algorithm);
    }

    function test_parse_needsANextUpdate() public {
        Draft memory draft = good();
        draft.nextUpdate = "";
        refuses(draft, bodyOf(draft) + 3 + 12 + draft.issuer.length + 15);
    }

    /// Those of delta lists and of distribution points, and any other.
    function test_parse_refusesUnknownCriticalExtensions() public {
        bytes[3] memory arcs = [bytes(hex"1b"), hex"1c", hex"1e"];
        for (uint256 i; i < 3; ++i) {
            Draft memory draft = good();
            bytes memory critical = Writer.criticalExtension(arcs[i], hex"020101");
            draft.extensions = bytes.concat(draft.extensions, critical);
            lacks(draft, V.CertificateFault.UnknownCriticalExtension);
        }
    }

    /// Of an indirect list: the certificate's issuer.
    function test_parse_refusesUnknownCriticalExtensionsOfEntries() public {
        Draft memory draft = good();
        bytes memory more = DerWriter.tlv(0x30, Writer.criticalExtension(hex"1d", hex"3000"));
        bytes memory one = bytes.concat(hex"020101", DerWriter.utcTime(START), more);
        draft.revoked = DerWriter.tlv(0x30, DerWriter.tlv(0x30, one));
        lacks(draft, V.CertificateFault.UnknownCriticalExtension);
    }

    function test_parse_refusesAnExtensionTwice() public {
        Draft memory draft = good();
        bytes memory twice = Writer.authorityKeyIdOf(issuer());
        draft.extensions = bytes.concat(draft.extensions, twice);
        refuses(draft, signedPart(draft).length - twice.length);
        draft = good();
        draft.extensions = bytes.concat(draft.extensions, NUMBER_7);
        refuses(draft, signedPart(draft).length - NUMBER_7.length);
    }

    function test_parse_refusesBadEntries() public {
        bytes memory date = DerWriter.utcTime(START);
        // A negative serial; no date; something else than a date; something behind the extensions,
        // an extension even; an entry that is no sequence.
        bytes[6] memory entries = [
            DerWriter.tlv(0x30, bytes.concat(hex"020181", date)),
            DerWriter.tlv(0x30, hex"020101"),
            DerWriter.tlv(0x30, hex"0201010500"),
            DerWriter.tlv(0x30, bytes.concat(hex"020101", date, hex"3000", hex"0500")),
            DerWriter.tlv(0x30, bytes.concat(hex"020101", date, hex"3000", NUMBER_7)),
            DerWriter.tlv(0x31, bytes.concat(hex"020101", date))
        ];
        uint8[6] memory offsets = [2, 5, 5, 22, 22, 0];
        for (uint256 i; i < 6; ++i) {
            Draft memory draft = good();
            uint256 start = bodyOf(draft) + 3 + 12 + draft.issuer.length + 30 + 2;
            draft.revoked = DerWriter.tlv(0x30, entries[i]);
            refuses(draft, start + offsets[i]);
        }
    }

    function test_parse_refusesBytesBehindAnything() public {
        Draft memory draft = good();
        bytes memory der = finish(draft);
        badDer(DER + der.length);
        READING.parse(bytes.concat(der, hex"00"));
        draft.extensions = bytes.concat(
            Writer.extension(hex"14", hex"02010700"), Writer.authorityKeyIdOf(issuer())
        );
        uint256 length = signedPart(draft).length;
        refuses(draft, length - Writer.authorityKeyIdOf(issuer()).length - 1);
    }

    /// What would be read if only one of the two lengths around the extensions counted.
    function test_parse_refusesLengthsOfExtensionsThatDoNotFit() public {
        Draft memory draft = good();
        bytes memory part = signedPart(draft);
        uint256 start = part.length - draft.extensions.length;
        vm.assertEq(uint8(part[start - 4]), 0xa0, "[0]");
        part[start - 3] = bytes1(uint8(part[start - 3]) - 1);
        refusesSigned(part, part.length - 1);
        part = signedPart(draft);
        part[start - 1] = bytes1(uint8(NUMBER_7.length));
        refusesSigned(part, start + NUMBER_7.length);
    }

    function test_parse_refusesWhatIsNoDate() public {
        Draft memory draft = good();
        draft.thisUpdate = bytes.concat(hex"170d", "241301000000Z");
        refuses(draft, bodyOf(draft) + 3 + 12 + draft.issuer.length);
        draft = good();
        draft.nextUpdate = bytes.concat(hex"170d", "241301000000Z");
        refuses(draft, bodyOf(draft) + 3 + 12 + draft.issuer.length + 15);
    }

    // Making of.

    function issuer() private pure returns (Writer.Party memory) {
        return Writer.Party("A CA with a name that is long enough for both lengths of DER", 1001);
    }

    function good() private pure returns (Draft memory draft) {
        draft.version = hex"020101";
        draft.algorithm = hex"300a06082a8648ce3d040302";
        draft.issuer = Writer.nameOf(issuer());
        draft.thisUpdate = DerWriter.utcTime(START);
        draft.nextUpdate = DerWriter.utcTime(END);
        draft.extensions = bytes.concat(NUMBER_7, Writer.authorityKeyIdOf(issuer()));
    }

    function signedPart(Draft memory draft) private pure returns (bytes memory) {
        bytes memory body = bytes.concat(
            draft.version, draft.algorithm, draft.issuer, draft.thisUpdate, draft.nextUpdate
        );
        bytes memory extensions = DerWriter.tlv(0xa0, DerWriter.tlv(0x30, draft.extensions));
        return DerWriter.tlv(0x30, bytes.concat(body, draft.revoked, extensions));
    }

    function finish(Draft memory draft) private pure returns (bytes memory) {
        return DerWriter.signed(signedPart(draft), issuer().scalar);
    }

    function entry(uint256 serial, bool reason) private pure returns (bytes memory) {
        bytes memory one =
            bytes.concat(DerWriter.integer(abi.encodePacked(serial)), DerWriter.utcTime(START));
        bytes memory more = hex"300c300a0603551d1504030a0101";
        return DerWriter.tlv(0x30, reason ? bytes.concat(one, more) : one);
    }

    function serialAt(uint256 seed, uint256 i) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, i))) >> (seed % 256);
    }

    function hashOf(uint256 serial) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(serial)));
    }

    function real(
        string memory file,
        string memory member,
        uint256 count,
        uint256 thisUpdate,
        uint256 nextUpdate
    ) private view returns (Crl memory crl) {
        string memory text = vm.parseJsonString(RealQuotes.collateral(file), member);
        crl = READING.parse(vm.parseBytes(string.concat("0x", text)));
        vm.assertEq(crl.number, 1, "number");
        vm.assertEq(crl.serials.length, count, "serials");
        vm.assertEq(crl.thisUpdate, thisUpdate, "this update");
        vm.assertEq(crl.nextUpdate, nextUpdate, "next update");
    }

    /// Offset of the version in the signed part.
    function bodyOf(Draft memory draft) private pure returns (uint256 content) {
        (content,) = DerWriter.header(signedPart(draft), 0);
    }

    /// `offset` is in the signed part.
    function refuses(Draft memory draft, uint256 offset) private {
        bytes memory der = finish(draft);
        (uint256 start,) = DerWriter.header(der, 0);
        badDer(DER + start + offset);
        READING.parse(der);
    }

    function refusesSigned(bytes memory part, uint256 offset) private {
        bytes memory der = DerWriter.signed(part, issuer().scalar);
        (uint256 start,) = DerWriter.header(der, 0);
        badDer(DER + start + offset);
        READING.parse(der);
    }

    function lacks(Draft memory draft, V.CertificateFault fault) private {
        bytes memory der = finish(draft);
        vm.expectRevert(abi.encodeWithSelector(V.BadCertificate.selector, fault));
        READING.parse(der);
    }

    function badDer(uint256 offset) private {
        vm.expectRevert(abi.encodeWithSelector(V.BadDer.selector, offset));
    }
}
