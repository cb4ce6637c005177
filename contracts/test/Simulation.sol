// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LibBytes} from "solady/utils/LibBytes.sol";
import {IAttestationVerifier, Pck, Quote, Tee} from "../src/interfaces/IAttestationVerifier.sol";
import {deployVerifier} from "./Deploy.sol";
import {DerWriter} from "./DerWriter.sol";
import {vm} from "./Vm.sol";

/// A verifier under the development root, the authorities that sign its collateral, and a machine
/// that makes quotes for any report data: what `phallama-attest` simulates in Rust. Certificates
/// come from its vectors; keys follow from public seeds.
abstract contract Simulation {
    using LibBytes for bytes;

    /// What authorities say about the machine, and when.
    struct Terms {
        uint256 issuedAt;
        uint256 nextUpdate;
        uint32 evaluationNumber;
        string status;
        string qeStatus;
        uint16 qeIsvSvn;
        bytes16 cpuSvn;
        uint16 pceSvn;
        bytes6 fmspc;
        bytes2 pceId;
    }

    string internal constant SIMULATED = "../vectors/attestation/simulated/";
    string private constant ROOT_SEED = "phallama development root";
    uint40 internal constant COLLATERAL_LIFE = 1 days;
    bytes32 internal constant MRENCLAVE = keccak256("enclave");
    bytes32 internal constant MRSIGNER = keccak256("signer of the enclave");
    bytes16 internal constant CPU_SVN = 0x0b0b0303ff0100000000000000000000;
    bytes16 internal constant TEE_TCB_SVN = 0x05010200000000000000000000000000;
    bytes32 private constant QE_AUTHENTICATION =
        0x2020202020202020202020202020202020202020202020202020202020202020;

    IAttestationVerifier internal verifier;
    bytes32 internal platformCa;
    bytes32 internal signer;
    bytes internal rootCertificate;
    bytes internal caCertificate;
    bytes internal leaf;
    Pck internal pck;
    string internal machine;
    uint256 private lists;
    uint256 private listLife = COLLATERAL_LIFE;

    // Keys.

    function scalarOf(string memory seed, string memory label) internal pure returns (uint256) {
        return uint256(
            sha256(
                abi.encodePacked(
                    "phallama/1 simulated key\x00",
                    uint64(bytes(seed).length),
                    seed,
                    label,
                    uint16(0)
                )
            )
        );
    }

    function rootScalar() internal pure returns (uint256) {
        return scalarOf(ROOT_SEED, "root CA");
    }

    function caScalar() internal pure returns (uint256) {
        return scalarOf(ROOT_SEED, "PCK platform CA");
    }

    function signerScalar() internal pure returns (uint256) {
        return scalarOf(ROOT_SEED, "TCB signer");
    }

    function keyIdOf(uint256 scalar) internal pure returns (bytes memory) {
        (uint256 x, uint256 y) = vm.publicKeyP256(scalar);
        return abi.encodePacked(sha256(abi.encodePacked(x, y))).slice(0, 20);
    }

    /// Serial number of the certificate for a key.
    function serialOf(uint256 scalar) internal pure returns (bytes memory serial) {
        serial = keyIdOf(scalar);
        serial[0] = serial[0] & 0x7f | 0x40;
    }

    function rawSignature(uint256 scalar, bytes memory message)
        internal
        pure
        returns (bytes memory)
    {
        (bytes32 r, bytes32 s) = vm.signP256(scalar, sha256(message));
        return abi.encodePacked(r, s);
    }

    // Collateral.

    function goodTerms() internal view returns (Terms memory) {
        return Terms({
            issuedAt: block.timestamp,
            nextUpdate: block.timestamp + COLLATERAL_LIFE,
            evaluationNumber: 17,
            status: "UpToDate",
            qeStatus: "UpToDate",
            qeIsvSvn: 8,
            cpuSvn: CPU_SVN,
            pceSvn: 13,
            fmspc: 0x00606a000000,
            pceId: 0x0000
        });
    }

    /// Deploys a verifier that knows everything about SGX quotes of the machine in `machine.json`.
    function startVerifier() internal {
        string memory json = vm.readFile(string.concat(SIMULATED, "collateral.json"));
        useMachine("machine.json");
        rootCertificate = vm.parseJsonBytes(json, ".root");
        caCertificate = vm.parseJsonBytes(json, ".platform_ca");
        verifier = deployVerifier(rootCertificate);
        bringRootCrl(new bytes[](0));
        platformCa = verifier.admitCa(caCertificate);
        signer = verifier.admitSigner(vm.parseJsonBytes(json, ".tcb_signer"));
        bringCaCrl(new bytes[](0));
        bring(Tee.Sgx, goodTerms());
        pck = pckOf(leaf);
    }

    /// Makes later quotes those of another machine of the vectors.
    function useMachine(string memory file) internal {
        string memory json = vm.readFile(string.concat(SIMULATED, file));
        machine = vm.parseJsonString(json, ".seed");
        leaf = vm.parseJsonBytes(json, ".leaf");
    }

    /// What a PCK certificate says; the verifier does not remember it.
    function pckOf(bytes memory der) internal returns (Pck memory read) {
        uint256 state = vm.snapshotState();
        read = verifier.admitPck(der);
        vm.revertToState(state);
    }

    /// Brings newer lists without serials and newer information, once the old ones have expired.
    function renewCollateral() internal {
        (,, uint40 nextUpdate) = verifier.tcbInfo(Tee.Sgx, pck.fmspc);
        if (block.timestamp < nextUpdate) return;
        bringRootCrl(new bytes[](0));
        bringCaCrl(new bytes[](0));
        bring(Tee.Sgx, goodTerms());
    }

    function bring(Tee tee, Terms memory terms) internal {
        bringTcbInfo(tcbInfoJson(tee, terms));
        bringQeIdentity(qeIdentityJson(tee, terms));
    }

    function bringTcbInfo(string memory json) internal {
        verifier.upsertTcbInfo(bytes(json), rawSignature(signerScalar(), bytes(json)), signer);
    }

    function bringQeIdentity(string memory json) internal {
        verifier.upsertQeIdentity(bytes(json), rawSignature(signerScalar(), bytes(json)), signer);
    }

    function bringRootCrl(bytes[] memory serials) internal {
        bytes memory der = crlOf(rootCertificate, rootScalar(), serials);
        verifier.upsertCrl(verifier.ROOT(), der);
    }

    function bringCaCrl(bytes[] memory serials) internal {
        verifier.upsertCrl(platformCa, crlOf(caCertificate, caScalar(), serials));
    }

    /// Lists without serials that are good for longer than anything else.
    function bringLongLists() internal {
        listLife = 365 days;
        bringRootCrl(new bytes[](0));
        bringCaCrl(new bytes[](0));
        listLife = COLLATERAL_LIFE;
    }

    /// The next list of an authority, good from now on.
    function crlOf(bytes memory certificate, uint256 scalar, bytes[] memory serials)
        internal
        returns (bytes memory)
    {
        DerWriter.Crl memory list;
        list.issuer = DerWriter.subject(certificate);
        list.keyId = keyIdOf(scalar);
        list.number = ++lists;
        list.thisUpdate = block.timestamp;
        list.nextUpdate = block.timestamp + listLife;
        list.serials = serials;
        return DerWriter.crl(list, scalar);
    }

    function tcbInfoJson(Tee tee, Terms memory terms) internal pure returns (string memory json) {
        bool tdx = tee == Tee.Tdx;
        json = string.concat('{"id":"', tdx ? "TDX" : "SGX", '","version":3,', dates(terms));
        json = string.concat(json, ',"fmspc":"', digits(bytes.concat(terms.fmspc)));
        json = string.concat(json, '","pceId":"', digits(bytes.concat(terms.pceId)));
        json = string.concat(json, '","tcbType":0,', evaluation(terms), tdx ? modules() : "");
        json = string.concat(json, '"tcbLevels":[', level(tdx, terms), "]}");
    }

    function level(bool tdx, Terms memory terms) internal pure returns (string memory json) {
        json = string.concat('{"tcb":{"sgxtcbcomponents":[', components(terms.cpuSvn));
        json = string.concat(json, '],"pcesvn":', vm.toString(terms.pceSvn));
        if (tdx) {
            // What a versioned module's identity judges does not count here.
            bytes16 needed = TEE_TCB_SVN & ~bytes16(bytes2(0x00ff));
            json = string.concat(json, ',"tdxtcbcomponents":[', components(needed), "]");
        }
        return string.concat(json, "},", rating(terms.status));
    }

    function modules() private pure returns (string memory json) {
        string memory module = string.concat(
            '"mrsigner":"', digits(new bytes(48)), '","attributes":"0000000000000000",'
        );
        module = string.concat(module, '"attributesMask":"FFFFFFFFFFFFFFFF"');
        json = string.concat('"tdxModule":{', module, '},"tdxModuleIdentities":[{"id":"TDX_01",');
        return string.concat(
            json, module, ',"tcbLevels":[{"tcb":{"isvsvn":5},', rating("UpToDate"), "]}],"
        );
    }

    function qeIdentityJson(Tee tee, Terms memory terms)
        internal
        pure
        returns (string memory json)
    {
        json = string.concat('{"id":"', tee == Tee.Tdx ? "TD_QE" : "QE", '","version":2,');
        json = string.concat(json, dates(terms), ",", evaluation(terms));
        json = string.concat(json, '"miscselect":"00000000","miscselectMask":"FFFFFFFF",');
        json = string.concat(json, '"attributes":"11000000000000000000000000000000",');
        json = string.concat(json, '"attributesMask":"FBFFFFFFFFFFFFFF0000000000000000",');
        json = string.concat(json, '"mrsigner":"', digits(bytes.concat(qeSigner(tee))));
        json = string.concat(json, '","isvprodid":', tee == Tee.Tdx ? "2" : "1");
        json = string.concat(json, ',"tcbLevels":[{"tcb":{"isvsvn":', vm.toString(terms.qeIsvSvn));
        return string.concat(json, "},", rating(terms.qeStatus), "]}");
    }

    function dates(Terms memory terms) private pure returns (string memory) {
        return string.concat(
            '"issueDate":"',
            DerWriter.iso8601(terms.issuedAt),
            '","nextUpdate":"',
            DerWriter.iso8601(terms.nextUpdate),
            '"'
        );
    }

    function evaluation(Terms memory terms) private pure returns (string memory) {
        string memory number = vm.toString(terms.evaluationNumber);
        return string.concat('"tcbEvaluationDataNumber":', number, ",");
    }

    function rating(string memory status) internal pure returns (string memory) {
        return string.concat('"tcbDate":"2024-03-13T00:00:00Z","tcbStatus":"', status, '"}');
    }

    function components(bytes16 svns) private pure returns (string memory json) {
        for (uint256 i; i < 16; ++i) {
            json =
                string.concat(json, i == 0 ? "" : ",", '{"svn":', vm.toString(uint8(svns[i])), "}");
        }
    }

    /// Hexadecimal digits without a prefix.
    function digits(bytes memory value) internal pure returns (string memory) {
        return string(bytes(vm.toString(value)).slice(2));
    }

    // Reports and quotes.

    function qeSigner(Tee tee) internal pure returns (bytes32) {
        return tee == Tee.Sgx
            ? sha256("phallama/1 simulated quoting enclave signer")
            : sha256("phallama/1 simulated TD quoting enclave signer");
    }

    /// Report of an enclave: what is not an argument is zero or usual.
    function sgxReport(
        bytes1 flags,
        bytes32 mrEnclave,
        bytes32 mrSigner,
        uint16 productId,
        uint16 isvSvn,
        bytes memory data
    ) internal pure returns (bytes memory) {
        bytes memory attributes = abi.encodePacked(flags, bytes7(0), bytes1(0xe7), bytes7(0));
        bytes memory head = abi.encodePacked(CPU_SVN, new bytes(32), attributes, mrEnclave);
        head = abi.encodePacked(head, bytes32(0), mrSigner, new bytes(96));
        return
            abi.encodePacked(
                head, littleEndian(productId), littleEndian(isvSvn), new bytes(60), data
            );
    }

    function qeReport(Tee tee) internal view returns (bytes memory) {
        bytes32 bound = sha256(bytes.concat(attestationKey(), QE_AUTHENTICATION));
        bytes32 mrEnclave = sha256("phallama/1 simulated quoting enclave");
        uint16 productId = tee == Tee.Sgx ? 1 : 2;
        bytes memory data = abi.encodePacked(bound, bytes32(0));
        return sgxReport(0x15, mrEnclave, qeSigner(tee), productId, 8, data);
    }

    /// Header and body of an SGX quote v3.
    function sgxSigned(bytes32 data) internal pure returns (bytes memory) {
        bytes memory both = abi.encodePacked(data, bytes32(0));
        return bytes.concat(header(3, 0x00), sgxReport(0x05, MRENCLAVE, MRSIGNER, 1, 1, both));
    }

    /// Header and body of a TDX quote: v4 for body type 0, otherwise v5.
    function tdSigned(uint8 bodyType, bytes32 data) internal pure returns (bytes memory signed) {
        signed = abi.encodePacked(TEE_TCB_SVN, new bytes(104), bytes8(0x0000001000000000));
        signed = abi.encodePacked(signed, bytes8(0xe700000000000000), tdMeasurements());
        signed = abi.encodePacked(signed, data, bytes32(0));
        if (bodyType >= 3) signed = abi.encodePacked(signed, TEE_TCB_SVN, new bytes(48));
        if (bodyType == 4) signed = abi.encodePacked(signed, new bytes(237));
        if (bodyType == 0) return bytes.concat(header(4, 0x81), signed);
        uint16 size = uint16(signed.length);
        bytes memory descriptor =
            abi.encodePacked(littleEndian(bodyType), littleEndian(size), bytes2(0));
        return bytes.concat(header(5, 0x81), descriptor, signed);
    }

    /// MRTD to RTMR3: eight registers of 48 bytes, none like another.
    function tdMeasurements() internal pure returns (bytes memory registers) {
        for (uint256 i; i < 12; ++i) {
            registers = bytes.concat(registers, keccak256(abi.encode("register", i)));
        }
    }

    function header(uint8 version, uint8 teeType) private pure returns (bytes memory) {
        bytes16 vendor = 0x939a7233f79c4ca9940a0db3957f0607;
        return
            abi.encodePacked(
                version, hex"000200", teeType, hex"00000008000d00", vendor, new bytes(20)
            );
    }

    /// A quote with these bytes signed by the attestation key, which a good QE report certifies.
    function quoteOf(bytes memory signed) internal view returns (Quote memory) {
        return quoteUnder(signed, qeReport(uint8(signed[4]) == 0 ? Tee.Sgx : Tee.Tdx));
    }

    /// The same with any QE report, signed by the PCK.
    function quoteUnder(bytes memory signed, bytes memory report)
        internal
        view
        returns (Quote memory)
    {
        bytes memory auth = bytes.concat(
            rawSignature(attestationScalar(), signed),
            attestationKey(),
            report,
            rawSignature(scalarOf(machine, "PCK"), report),
            QE_AUTHENTICATION
        );
        return Quote(signed, auth);
    }

    function sgxQuote(bytes32 data) internal view returns (Quote memory) {
        return quoteOf(sgxSigned(data));
    }

    function tdQuote(uint8 bodyType, bytes32 data) internal view returns (Quote memory) {
        return quoteOf(tdSigned(bodyType, data));
    }

    function attestationScalar() internal view returns (uint256) {
        return scalarOf(machine, "attestation");
    }

    function attestationKey() internal view returns (bytes memory) {
        (uint256 x, uint256 y) = vm.publicKeyP256(attestationScalar());
        return abi.encodePacked(x, y);
    }

    function slice(bytes memory data, uint256 start, uint256 end)
        internal
        pure
        returns (bytes memory)
    {
        return data.slice(start, end);
    }

    function littleEndian(uint16 value) internal pure returns (bytes2) {
        return bytes2(value << 8 | value >> 8);
    }
}
