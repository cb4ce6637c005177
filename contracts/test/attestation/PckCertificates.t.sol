// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LibBytes} from "solady/utils/LibBytes.sol";
import {Certificate} from "../../src/attestation/Certificates.sol";
import {CollateralReader} from "../../src/attestation/CollateralReader.sol";
import {P256} from "../../src/attestation/P256.sol";
import {Issuance, PckCertificates} from "../../src/attestation/PckCertificates.sol";
import {IAttestationVerifier as V, Pck} from "../../src/interfaces/IAttestationVerifier.sol";
import {DerWriter} from "../DerWriter.sol";
import {RealQuotes} from "../RealQuotes.sol";
import {vm} from "../Vm.sol";
import {CertificateWriter as Writer} from "./CertificateWriter.sol";

/// The library behind external calls.
contract PckReading {
    function read(bytes calldata leaf) external view returns (Pck memory, Issuance memory) {
        return PckCertificates.read(leaf);
    }

    /// The first `length` bytes, with the rest right behind them in the call's data.
    function readPrefix(bytes calldata leaf, uint256 length)
        external
        view
        returns (Pck memory, Issuance memory)
    {
        return PckCertificates.read(leaf[:length]);
    }

    function gasOf(bytes calldata leaf) external view returns (uint256 used) {
        used = gasleft();
        PckCertificates.read(leaf);
        used -= gasleft();
    }
}

contract PckCertificatesTest {
    using LibBytes for bytes;
    using Writer for Writer.Draft;

    /// What the SGX extension says, each field in DER with its object identifier.
    struct SgxFields {
        bytes ppid;
        bytes components;
        bytes pceSvn;
        bytes cpuSvn;
        bytes pceId;
        bytes fmspc;
        bytes sgxType;
        bytes instance;
        bytes configuration;
    }

    // Selector, offset and length of the only argument.
    uint256 private constant DER = 4 + 2 * 32;
    uint256 private constant START = 1_700_000_000;
    uint256 private constant END = 1_800_000_000;
    bytes private constant ARC = hex"2a864886f84d010d01";
    bytes16 private constant CPU_SVN = 0x0102030405060708090a0b0c0d0e0f10;

    uint256 private constant GAS_MAX = 10_500;

    PckReading private immutable READING = new PckReading();
    CollateralReader private immutable CERTIFICATES = new CollateralReader();

    // Intel's.

    function test_read_aCertificateOfTheProcessorCa() public view {
        (Pck memory pck, Issuance memory by) = readReal("sgx_quote");
        vm.assertEq(pck.serial, 0x0081b77732b761e98eb9b963a4abd1e5b9bf5dd8d6, "serial");
        vm.assertEq(pck.notBefore, 1_695_246_823, "2023-09-20T21:53:43Z");
        vm.assertEq(pck.notAfter, 1_916_171_623, "2030-09-20T21:53:43Z");
        vm.assertEq(pck.machine, machineOf(0xd04ec06d4e6d92dc90d0ad3cf5ee2ddf), "machine");
        vm.assertEq(pck.cpuSvn, bytes16(0x0b0b0202ff0100000000000000000000), "CPU SVN");
        vm.assertEq(pck.pceSvn, 13, "PCE SVN");
        vm.assertEq(pck.pceId, bytes2(0), "PCE id");
        vm.assertEq(pck.fmspc, bytes6(0x00a067110000), "FMSPC");
        vm.assertEq(pck.instance, bytes16(0), "no instance");
        vm.assertEq(pck.issuer, bytes32(0), "issuer is for the caller");
        bytes memory keyId = hex"d0e8aada75d7f92e4917983c7b1465d0d5f2594d";
        vm.assertEq(by.keyId, keccak256(keyId), "key id of the issuer");
        signedByIntel("sgx_quote", pck, by);
    }

    function test_read_certificatesOfThePlatformCa() public view {
        (Pck memory pck, Issuance memory by) = readReal("tdx_quote_td15ex");
        vm.assertEq(pck.serial, 0x00b1c36ba561e6e29dcae209272326a0cd2b034f6c, "serial");
        vm.assertEq(pck.notBefore, 1_786_617_937, "2026-08-13T10:45:37Z");
        vm.assertEq(pck.notAfter, 2_007_542_737, "2033-08-13T10:45:37Z");
        vm.assertEq(pck.machine, machineOf(0xd6fbe62fefe590c45a33afa4adaad111), "machine");
        vm.assertEq(pck.cpuSvn, bytes16(0x04040202040100050000000000000000), "CPU SVN");
        vm.assertEq(pck.pceSvn, 11, "PCE SVN");
        vm.assertEq(pck.pceId, bytes2(0), "PCE id");
        vm.assertEq(pck.fmspc, bytes6(0xb0c06f000000), "FMSPC");
        vm.assertEq(pck.instance, bytes16(0x5d9bfc282bfc50faa999121aa7cc41d7), "instance");
        bytes memory keyId = hex"956f5dcdbd1be1e94049c9d4f433ce01570bde54";
        vm.assertEq(by.keyId, keccak256(keyId), "key id of the issuer");
        signedByIntel("tdx_quote_td15ex", pck, by);
        string[2] memory others = ["tdx_quote", "tdx_quote_outdated"];
        for (uint256 i; i < 2; ++i) {
            (pck, by) = readReal(others[i]);
            signedByIntel(others[i], pck, by);
        }
    }

    function test_read_takesLittleGas() public view {
        string[4] memory files =
            ["sgx_quote", "tdx_quote", "tdx_quote_outdated", "tdx_quote_td15ex"];
        for (uint256 i; i < 4; ++i) {
            (, bytes memory leaf) = RealQuotes.load(files[i]);
            vm.assertLe(READING.gasOf(leaf), GAS_MAX, files[i]);
        }
    }

    // Drafts.

    function testFuzz_read_drafts(
        bytes16 ppid,
        bytes16 cpuSvn,
        uint16 pceSvn,
        uint8 shift,
        bytes2 pceId,
        bytes6 fmspc,
        bytes16 instance
    ) public view {
        pceSvn >>= shift % 16;
        SgxFields memory fields = goodFields();
        fields.ppid = field(hex"01", octets(bytes.concat(ppid)));
        fields.cpuSvn = field(hex"0212", octets(bytes.concat(cpuSvn)));
        fields.pceSvn = field(hex"0211", DerWriter.integer(abi.encodePacked(pceSvn)));
        fields.pceId = field(hex"03", octets(bytes.concat(pceId)));
        fields.fmspc = field(hex"04", octets(bytes.concat(fmspc)));
        fields.instance = field(hex"06", octets(bytes.concat(instance)));
        Writer.Draft memory draft = draftOf(fields);
        (Pck memory pck, Issuance memory by) = READING.read(draft.finish());
        vm.assertEq(pck.tbsHash, sha256(draft.signedPart()), "tbsHash");
        vm.assertEq(keccak256(bytes.concat(pck.x, pck.y)), Writer.idOf(subject()), "key");
        vm.assertEq(pck.serial, uint160(bytes20(Writer.serialOf(subject()))), "serial");
        vm.assertEq(pck.machine, machineOf(ppid), "machine");
        vm.assertEq(pck.cpuSvn, cpuSvn, "CPU SVN");
        vm.assertEq(pck.pceSvn, pceSvn, "PCE SVN");
        vm.assertEq(pck.pceId, pceId, "PCE id");
        vm.assertEq(pck.fmspc, fmspc, "FMSPC");
        vm.assertEq(pck.instance, instance, "instance");
        vm.assertEq(pck.notBefore, START, "start");
        vm.assertEq(pck.notAfter, END, "end");
        vm.assertEq(by.name, keccak256(Writer.nameOf(issuer())), "issuer");
        vm.assertEq(by.keyId, keccak256(Writer.keyIdOf(issuer())), "key id of the issuer");
        (bytes32 r, bytes32 s) = vm.signP256(issuer().scalar, pck.tbsHash);
        vm.assertEq(by.r, r, "r");
        vm.assertEq(by.s, s, "s");
    }

    function test_read_takesExtensionsInAnyOrderAndMore() public view {
        Writer.Draft memory draft = draftOf(goodFields());
        bytes memory reordered = bytes.concat(draft.more, draft.keyUsage, draft.authorityKeyId);
        draft.more = bytes.concat(
            reordered,
            Writer.extension(hex"1f", new bytes(100)),
            Writer.extension(hex"20", new bytes(300)),
            hex"300b06032a030404040102ff00"
        );
        draft.keyUsage = "";
        draft.authorityKeyId = "";
        (Pck memory pck, Issuance memory by) = READING.read(draft.finish());
        vm.assertEq(pck.cpuSvn, CPU_SVN, "CPU SVN");
        vm.assertEq(by.keyId, keccak256(Writer.keyIdOf(issuer())), "key id of the issuer");
    }

    function test_read_withoutAnAuthorityHasNoKeyId() public view {
        Writer.Draft memory draft = draftOf(goodFields());
        draft.authorityKeyId = "";
        (, Issuance memory by) = READING.read(draft.finish());
        vm.assertEq(by.keyId, bytes32(0), "key id of the issuer");
    }

    // One thing wrong.

    function test_read_refusesOtherVersionsAlgorithmsAndKeys() public {
        Writer.Draft memory draft = draftOf(goodFields());
        draft.version = hex"a003020101";
        refuses(draft, 0);
        draft.version = "";
        refuses(draft, 0);
        draft = draftOf(goodFields());
        draft.algorithm = hex"300a06082a8648ce3d040303";
        lacks(draft, V.CertificateFault.Algorithm);
        draft = draftOf(goodFields());
        draft.key[25] = 0x01;
        lacks(draft, V.CertificateFault.Algorithm);
        draft.key = hex"3039301306072a8648ce3d020106082a8648ce3d03010703220002";
        draft.key = bytes.concat(draft.key, new bytes(32));
        lacks(draft, V.CertificateFault.Algorithm);
    }

    function test_read_refusesOtherDates() public {
        Writer.Draft memory draft = draftOf(goodFields());
        uint256 offset = 4 + 5 + draft.serial.length + 12 + draft.issuer.length;
        bytes[7] memory wrong = [
            bytes("500101000000Z240101000000Z"),
            "240101000000Z500101000000Z",
            "240001000000Z240101000000Z",
            "240101000000Z240230000000Z",
            "24010100000AZ240101000000Z",
            "240101000000Z2401010/0000Z",
            "240101000000Z240101000000A"
        ];
        for (uint256 i; i < wrong.length; ++i) {
            draft.validity =
                bytes.concat(hex"301e170d", wrong[i].slice(0, 13), hex"170d", wrong[i].slice(13));
            refuses(draft, offset);
        }
        bytes memory last = bytes.concat(hex"180f", "20500101000000Z");
        draft.validity = DerWriter.tlv(0x30, bytes.concat(DerWriter.utcTime(START), last));
        refuses(draft, offset);
    }

    function test_read_refusesACa() public {
        Writer.Draft memory draft = draftOf(goodFields());
        draft.basicConstraints = Writer.CA_CONSTRAINTS;
        lacks(draft, V.CertificateFault.IsACa);
        draft.basicConstraints = Writer.extension(hex"13", hex"30030101ff");
        lacks(draft, V.CertificateFault.IsACa);
        draft.basicConstraints = bytes.concat(Writer.LEAF_CONSTRAINTS, Writer.CA_CONSTRAINTS);
        lacks(draft, V.CertificateFault.IsACa);
        draft = draftOf(goodFields());
        draft.keyUsage = Writer.CA_USAGE;
        lacks(draft, V.CertificateFault.KeyUsage);
    }

    function test_read_refusesOtherUsages() public {
        Writer.Draft memory draft = draftOf(goodFields());
        draft.keyUsage = "";
        lacks(draft, V.CertificateFault.KeyUsage);
        draft.keyUsage = Writer.extension(hex"0f", hex"03020640");
        lacks(draft, V.CertificateFault.KeyUsage);
    }

    function test_read_refusesUnknownCriticalExtensions() public {
        Writer.Draft memory draft = draftOf(goodFields());
        bytes memory good = draft.more;
        draft.more = bytes.concat(good, Writer.criticalExtension(hex"1e", hex"3000"));
        lacks(draft, V.CertificateFault.UnknownCriticalExtension);
        draft.more = bytes.concat(hex"300d06032a03040101ff0403020105", good);
        lacks(draft, V.CertificateFault.UnknownCriticalExtension);
    }

    function test_read_refusesWhatIsToBeThereOnce() public {
        Writer.Draft memory draft = draftOf(goodFields());
        uint256 length = draft.signedPart().length;
        bytes memory good = draft.more;
        draft.more = bytes.concat(good, good);
        refuses(draft, length);
        draft.more = bytes.concat(good, draft.authorityKeyId);
        refuses(draft, length);
        // The authority in another form: a key id of another length, more than a key id.
        draft.more = good;
        draft.authorityKeyId = Writer.extension(hex"23", hex"30048002aabb");
        refuses(draft, authorityAt(draft));
        bytes memory keyId = DerWriter.tlv(0x80, Writer.keyIdOf(issuer()));
        keyId = DerWriter.tlv(0x30, bytes.concat(keyId, hex"820101"));
        draft.authorityKeyId = Writer.extension(hex"23", keyId);
        refuses(draft, authorityAt(draft));
    }

    function test_read_needsTheSgxExtension() public {
        Writer.Draft memory draft = draftOf(goodFields());
        draft.more = Writer.extension(hex"1f", new bytes(400));
        lacks(draft, V.CertificateFault.NoSgxExtension);
        // Critical, or of another arc.
        draft = draftOf(goodFields());
        bytes memory value = sequenceOf(goodFields());
        bytes memory critical =
            bytes.concat(DerWriter.tlv(0x06, ARC), hex"0101ff", DerWriter.tlv(0x04, value));
        draft.more = DerWriter.tlv(0x30, critical);
        lacks(draft, V.CertificateFault.SgxField);
        draft.more = DerWriter.tlv(
            0x30,
            bytes.concat(DerWriter.tlv(0x06, hex"2a864886f84d010d02"), DerWriter.tlv(0x04, value))
        );
        lacks(draft, V.CertificateFault.NoSgxExtension);
    }

    function test_read_needsEveryField() public {
        for (uint256 i; i < 9; ++i) {
            SgxFields memory fields = goodFields();
            setField(fields, i, "");
            lacksField(fields);
        }
        // Of the last two, both or none.
        SgxFields memory processor = goodFields();
        (processor.instance, processor.configuration) = ("", "");
        (Pck memory pck,) = READING.read(draftOf(processor).finish());
        vm.assertEq(pck.instance, bytes16(0), "instance");
    }

    function test_read_refusesFieldsThatAreChanged() public {
        for (uint256 i; i < 9; ++i) {
            if (i == 1) continue;
            // Each byte before the value, which is tag and length of the field, its object
            // identifier, and tag and length of the value.
            uint256 head = i == 2 || i == 3 ? 17 : 16;
            for (uint256 k; k < head; ++k) {
                SgxFields memory fields = goodFields();
                bytes memory value = bytes.concat(getField(fields, i));
                value[k] ^= 0x01;
                setField(fields, i, value);
                lacksField(fields);
            }
        }
    }

    function test_read_refusesFieldsInAnotherOrder() public {
        SgxFields memory fields = goodFields();
        (fields.pceId, fields.fmspc) = (fields.fmspc, fields.pceId);
        lacksField(fields);
        fields = goodFields();
        (fields.pceSvn, fields.cpuSvn) = (fields.cpuSvn, fields.pceSvn);
        lacksField(fields);
        fields = goodFields();
        (fields.instance, fields.configuration) = (fields.configuration, fields.instance);
        lacksField(fields);
    }

    function test_read_refusesMoreFields() public {
        SgxFields memory fields = goodFields();
        fields.configuration = bytes.concat(fields.configuration, field(hex"08", octets("")));
        lacksField(fields);
        fields = goodFields();
        fields.cpuSvn = bytes.concat(fields.cpuSvn, field(hex"0213", octets("")));
        lacksField(fields);
    }

    function test_read_refusesOtherPceSvns() public {
        bytes[8] memory wrong = [
            bytes(hex"0200"),
            hex"020180",
            hex"0202000b",
            hex"0202ffff",
            hex"0203007fff",
            hex"0203010000",
            hex"0203ffffff",
            hex"020400000001"
        ];
        for (uint256 i; i < wrong.length; ++i) {
            SgxFields memory fields = goodFields();
            fields.pceSvn = field(hex"0211", wrong[i]);
            lacksField(fields);
        }
    }

    function test_read_refusesATcbThatIsTooShortForItsComponents() public {
        SgxFields memory fields = goodFields();
        fields.components = fields.components.slice(18);
        lacksField(fields);
    }

    /// Lengths of the sequences around the fields, greater or smaller.
    function test_read_refusesLengthsThatDoNotFit() public view {
        Writer.Draft memory draft = draftOf(goodFields());
        // Of the extension, its octets, its sequence; of the TCB and its sequence.
        uint8[5] memory places = [3, 18, 22, 23 + 32 + 3, 23 + 32 + 19];
        for (uint256 i; i < 5; ++i) {
            bytes memory good = bytes.concat(draft.more);
            for (uint8 change = 1; change <= 4; change *= 4) {
                draft.more[places[i]] = bytes1(uint8(good[places[i]]) ^ change);
                bytes memory der = draft.finish();
                (bool ran, bytes memory why) =
                    address(READING).staticcall(abi.encodeCall(READING.read, (der)));
                vm.assertEq(ran, false, "length");
                bytes32 selector = bytes32(bytes4(why));
                bool known = selector == bytes32(V.BadDer.selector)
                    || selector == bytes32(V.BadCertificate.selector);
                vm.assertEq(known, true, "error");
            }
            draft.more = good;
        }
    }

    /// Tags and lengths of the two sequences of extensions.
    function test_read_refusesOtherHeadsOfTheExtensions() public {
        Writer.Draft memory draft = draftOf(goodFields());
        // So that the signed part has two bytes of length even with almost no extensions.
        draft.subject = Writer.nameOf(Writer.Party(string(new bytes(100)), 1));
        bytes memory signedPart = draft.signedPart();
        uint256 offset = authorityAt(draft) - 8;
        for (uint256 i; i < 8; ++i) {
            bytes memory changed = bytes.concat(signedPart);
            changed[offset + i] ^= 0x01;
            refusesSigned(changed, offset);
        }
        // Lengths of two bytes where one would do.
        bytes memory usage = Writer.LEAF_USAGE;
        bytes memory head = signedPart.slice(4, offset);
        bytes memory long = bytes.concat(hex"a382001430820010", usage);
        vm.assertEq(usage.length, 16, "length of the usage");
        bytes memory body = bytes.concat(head, long);
        refusesSigned(bytes.concat(hex"3082", bytes2(uint16(body.length)), body), offset);
    }

    function test_read_refusesACertificateThatNeedsNoTwoBytesOfLength() public {
        Writer.Draft memory draft = draftOf(goodFields());
        (draft.issuer, draft.subject) = (hex"3000", hex"3000");
        bytes memory body = bytes.concat(
            draft.version, draft.serial, draft.algorithm, draft.issuer, draft.validity
        );
        body = bytes.concat(body, draft.subject, draft.key, hex"a382001430820010", draft.keyUsage);
        vm.assertLe(body.length, 255, "length");
        refusesSigned(bytes.concat(hex"308200", bytes1(uint8(body.length)), body), 0);
    }

    function test_read_refusesAnExtensionThatSticksOut() public {
        Writer.Draft memory draft = draftOf(goodFields());
        // One byte longer than the extensions have left.
        draft.more = bytes.concat(draft.more, hex"30080603551d1f040130");
        draft.more[draft.more.length - 9] = 0x09;
        draft.more[draft.more.length - 2] = 0x02;
        uint256 end = draft.signedPart().length;
        refuses(draft, end + 1);
    }

    function test_read_refusesBytesBehindTheCertificate() public {
        bytes memory der = draftOf(goodFields()).finish();
        badDer(DER + 4);
        READING.read(bytes.concat(der, hex"00"));
    }

    function test_read_refusesACertificateThatIsCutAnywhere() public view {
        (, bytes memory leaf) = RealQuotes.load("tdx_quote_td15ex");
        for (uint256 length; length < leaf.length; ++length) {
            bytes memory call = abi.encodeCall(READING.readPrefix, (leaf, length));
            (bool ran, bytes memory why) = address(READING).staticcall(call);
            vm.assertEq(ran, false, "cut");
            vm.assertEq(bytes32(bytes4(why)), bytes32(V.BadDer.selector), "error");
        }
    }

    /// A changed byte is refused or signed: nothing outside of the signed part changes what is
    /// read, but for the signature itself.
    function test_read_hashesEveryByteThatItReads() public view {
        (, bytes memory leaf) = RealQuotes.load("tdx_quote_td15ex");
        (Pck memory good, Issuance memory goodBy) = READING.read(leaf);
        for (uint256 i; i < leaf.length; ++i) {
            leaf[i] ^= 0x01;
            bytes memory call = abi.encodeCall(READING.read, (leaf));
            (bool ran, bytes memory result) = address(READING).staticcall(call);
            leaf[i] ^= 0x01;
            if (!ran) continue;
            (Pck memory pck, Issuance memory by) = abi.decode(result, (Pck, Issuance));
            bool signature = by.r != goodBy.r || by.s != goodBy.s;
            vm.assertEq(pck.tbsHash != good.tbsHash || signature, true, "noticed");
        }
    }

    // Making of.

    function issuer() private pure returns (Writer.Party memory) {
        return Writer.Party("PCK CA", 1001);
    }

    function subject() private pure returns (Writer.Party memory) {
        return Writer.Party("PCK", 1002);
    }

    function draftOf(SgxFields memory fields) private pure returns (Writer.Draft memory draft) {
        draft = Writer.signer(issuer(), subject(), START, END);
        draft.more = extensionOf(sequenceOf(fields));
    }

    function extensionOf(bytes memory value) private pure returns (bytes memory) {
        return
            DerWriter.tlv(0x30, bytes.concat(DerWriter.tlv(0x06, ARC), DerWriter.tlv(0x04, value)));
    }

    function goodFields() private pure returns (SgxFields memory fields) {
        fields.ppid = field(hex"01", octets(hex"000102030405060708090a0b0c0d0e0f"));
        for (uint8 i = 1; i <= 16; ++i) {
            bytes memory component = field(abi.encodePacked(uint8(2), i), hex"020101");
            fields.components = bytes.concat(fields.components, component);
        }
        fields.pceSvn = field(hex"0211", hex"02010b");
        fields.cpuSvn = field(hex"0212", octets(bytes.concat(CPU_SVN)));
        fields.pceId = field(hex"03", octets(hex"0000"));
        fields.fmspc = field(hex"04", octets(hex"00606a000000"));
        fields.sgxType = field(hex"05", hex"0a0101");
        fields.instance = field(hex"06", octets(hex"f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"));
        fields.configuration = field(hex"07", DerWriter.tlv(0x30, field(hex"0701", hex"0101ff")));
    }

    function sequenceOf(SgxFields memory fields) private pure returns (bytes memory) {
        bytes memory tcb = bytes.concat(fields.components, fields.pceSvn, fields.cpuSvn);
        bytes memory all =
            bytes.concat(fields.ppid, field(hex"02", DerWriter.tlv(0x30, tcb)), fields.pceId);
        all = bytes.concat(all, fields.fmspc, fields.sgxType, fields.instance);
        return DerWriter.tlv(0x30, bytes.concat(all, fields.configuration));
    }

    function field(bytes memory arcs, bytes memory value) private pure returns (bytes memory) {
        bytes memory oid = DerWriter.tlv(0x06, bytes.concat(ARC, arcs));
        return DerWriter.tlv(0x30, bytes.concat(oid, value));
    }

    function octets(bytes memory value) private pure returns (bytes memory) {
        return DerWriter.tlv(0x04, value);
    }

    /// The members of a struct in memory are words: here, where the bytes are.
    function getField(SgxFields memory fields, uint256 i)
        private
        pure
        returns (bytes memory value)
    {
        assembly ("memory-safe") {
            value := mload(add(fields, shl(5, i)))
        }
    }

    function setField(SgxFields memory fields, uint256 i, bytes memory value) private pure {
        assembly ("memory-safe") {
            mstore(add(fields, shl(5, i)), value)
        }
    }

    function authorityAt(Writer.Draft memory draft) private pure returns (uint256) {
        return draft.signedPart().length - draft.more.length - draft.basicConstraints.length
            - draft.keyUsage.length - draft.keyId.length - draft.authorityKeyId.length;
    }

    function machineOf(bytes16 ppid) private pure returns (bytes32) {
        return sha256(abi.encodePacked("phallama/1 machine\x00", ppid));
    }

    function readReal(string memory file) private view returns (Pck memory, Issuance memory) {
        (, bytes memory leaf) = RealQuotes.load(file);
        return READING.read(leaf);
    }

    /// The CA of the collateral signed it and has that name and key id.
    function signedByIntel(string memory file, Pck memory pck, Issuance memory by) private view {
        string memory chain =
            vm.parseJsonString(RealQuotes.collateral(file), ".pck_crl_issuer_chain");
        Certificate memory c = CERTIFICATES.certificate(RealQuotes.certificates(chain)[0]);
        vm.assertEq(by.name, c.subjectName, "issuer");
        vm.assertEq(by.keyId, c.keyId, "key id of the issuer");
        vm.assertEq(P256.verify(pck.tbsHash, by.r, by.s, c.x, c.y), true, "signature");
    }

    /// `offset` is in the signed part, which begins behind four bytes.
    function refuses(Writer.Draft memory draft, uint256 offset) private {
        bytes memory der = draft.finish();
        badDer(DER + 4 + offset);
        READING.read(der);
    }

    function refusesSigned(bytes memory signedPart, uint256 offset) private {
        bytes memory der = DerWriter.signed(signedPart, issuer().scalar);
        badDer(DER + 4 + offset);
        READING.read(der);
    }

    function lacks(Writer.Draft memory draft, V.CertificateFault fault) private {
        bytes memory der = draft.finish();
        vm.expectRevert(abi.encodeWithSelector(V.BadCertificate.selector, fault));
        READING.read(der);
    }

    function lacksField(SgxFields memory fields) private {
        lacks(draftOf(fields), V.CertificateFault.SgxField);
    }

    function badDer(uint256 offset) private {
        vm.expectRevert(abi.encodeWithSelector(V.BadDer.selector, offset));
    }
}
