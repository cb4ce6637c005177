// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CollateralReader} from "../../src/attestation/CollateralReader.sol";
import {QeIdentityJson} from "../../src/attestation/QeIdentityJson.sol";
import {Tcb} from "../../src/attestation/Tcb.sol";
import {CollateralHeader, TcbInfoJson} from "../../src/attestation/TcbInfoJson.sol";
import {IAttestationVerifier, TcbStatus, Tee} from "../../src/interfaces/IAttestationVerifier.sol";
import {LibString} from "solady/utils/LibString.sol";
import {vm} from "../Vm.sol";
import {CollateralText, IsvLevel, Level, Module} from "./CollateralText.sol";

/// The reader that the verifier uses, and what tests want to know beside.
contract CollateralParser is CollateralReader {
    /// Gas of reading alone.
    function tcbInfoGas(bytes calldata json) external view returns (uint256) {
        uint256 before = gasleft();
        TcbInfoJson.parse(json);
        return before - gasleft();
    }

    function qeIdentityGas(bytes calldata json) external view returns (uint256) {
        uint256 before = gasleft();
        QeIdentityJson.parse(json);
        return before - gasleft();
    }

    /// The first `length` bytes, with the rest right behind them in calldata.
    function tcbInfoPrefix(bytes calldata json, uint256 length)
        external
        pure
        returns (CollateralHeader memory, bytes memory)
    {
        return TcbInfoJson.parse(json[:length]);
    }

    function qeIdentityPrefix(bytes calldata json, uint256 length)
        external
        pure
        returns (CollateralHeader memory, bytes memory)
    {
        return QeIdentityJson.parse(json[:length]);
    }

    function platform(
        bytes memory packed,
        Tee tee,
        bytes16 cpuSvn,
        uint16 pceSvn,
        bytes16 teeTcbSvn
    ) external pure returns (TcbStatus) {
        return Tcb.platform(packed, tee, cpuSvn, pceSvn, teeTcbSvn);
    }

    function platformGas(
        bytes memory packed,
        Tee tee,
        bytes16 cpuSvn,
        uint16 pceSvn,
        bytes16 teeTcbSvn
    ) external view returns (uint256) {
        uint256 before = gasleft();
        Tcb.platform(packed, tee, cpuSvn, pceSvn, teeTcbSvn);
        return before - gasleft();
    }

    function tdxModule(bytes memory packed, bytes16 teeTcbSvn, bytes calldata module)
        external
        pure
    {
        Tcb.tdxModule(packed, teeTcbSvn, module);
    }

    function quotingEnclave(bytes memory packed, bytes calldata report)
        external
        pure
        returns (TcbStatus)
    {
        return Tcb.quotingEnclave(packed, report);
    }
}

/// What the tests of Intel's JSON share.
abstract contract CollateralFixture {
    using LibString for string;

    CollateralParser internal parser;

    function setUp() public virtual {
        parser = new CollateralParser();
    }

    /// A structure out of a file of `vectors/attestation/intel`.
    function intel(string memory name, string memory key) internal view returns (string memory) {
        string memory file =
            string.concat("../vectors/attestation/intel/", name, "_collateral.json");
        return vm.parseJsonString(vm.readFile(file), key);
    }

    /// `json` with the first `from` in it replaced.
    function one(string memory json, string memory from, string memory to)
        internal
        pure
        returns (string memory)
    {
        uint256 index = offsetOf(json, from);
        return string.concat(json.slice(0, index), to, json.slice(index + bytes(from).length));
    }

    /// Where `text` is first in `json`.
    function offsetOf(string memory json, string memory text)
        internal
        pure
        returns (uint256 index)
    {
        index = json.indexOf(text);
        vm.assertTrue(index != LibString.NOT_FOUND, string.concat("no `", text, "`"));
    }

    function prefix(string memory json, uint256 length) internal pure returns (string memory) {
        return json.slice(0, length);
    }

    function status(string memory name) internal pure returns (string memory) {
        return string.concat("\"tcbStatus\":\"", name, "\"");
    }

    /// What a template says, without its marks, and of which kind each byte is. From a mark on:
    /// `|` the byte is fixed, `<` part of a value, `^` part of a date that is only checked, `~` part
    /// of a text that does not matter.
    function kinds(string memory template)
        internal
        pure
        returns (bytes memory json, bytes memory kindOf)
    {
        bytes1 kind = "|";
        json = new bytes(bytes(template).length);
        kindOf = new bytes(json.length);
        uint256 length;
        for (uint256 i; i < kindOf.length; ++i) {
            bytes1 character = bytes(template)[i];
            bool mark = character == "|" || character == "<" || character == "^" || character == "~";
            if (mark) kind = character;
            else (json[length], kindOf[length++]) = (character, kind);
        }
        assembly ("memory-safe") {
            mstore(json, length)
            mstore(kindOf, length)
        }
    }

    /// Replaces each byte by others, takes it away, and puts a space before it.
    function checkMutations(bytes4 selector, string memory template) internal {
        vm.pauseGasMetering();
        (bytes memory json, bytes memory kindOf) = kinds(template);
        (, bytes32 same) = read(selector, json);
        vm.assertTrue(same != 0, "the template is refused");
        for (uint256 i; i < json.length; ++i) {
            checkReplaced(selector, json, kindOf[i], i, same);
            checkRemoved(selector, json, kindOf[i], i, same);
            bool inText = kindOf[i] == "~" || (i != 0 && kindOf[i - 1] == "~");
            (, bytes32 result) = read(selector, spaced(json, i));
            vm.assertEq(result, inText ? same : bytes32(0), place("space before", i));
        }
        vm.resumeGasMetering();
    }

    function checkReplaced(bytes4 selector, bytes memory json, bytes1 kind, uint256 i, bytes32 same)
        private
        view
    {
        bytes1 character = json[i];
        bytes memory others = "09:/aG\"\\ ,}\x1f\x00\x00\x00\x00";
        others[13] = character ^ 0x01;
        others[14] = character ^ 0x20;
        others[15] = character | 0x80;
        for (uint256 j; j < others.length; ++j) {
            bytes1 other = others[j];
            if (other == character) continue;
            json[i] = other;
            (uint256 offset, bytes32 result) = read(selector, json);
            // A text that was opened, or that lost its quote, goes up to the next quote.
            vm.assertLe(offset, i + 5, place("offset", i));
            bool expected = result == 0;
            if (kind == "<" && isHex(other)) {
                expected = result != same || otherCase(character, other);
            } else if (kind == "^" && isDigit(other)) {
                expected = result == 0 || result == same;
            } else if (kind == "~" && mayBeInText(other)) {
                expected = result == same;
            }
            vm.assertTrue(expected, place("replaced", i));
        }
        json[i] = character;
    }

    function checkRemoved(bytes4 selector, bytes memory json, bytes1 kind, uint256 i, bytes32 same)
        private
        view
    {
        (, bytes32 result) = read(selector, without(json, i));
        bool expected = kind == "~" ? result == same : kind == "<" ? result != same : result == 0;
        vm.assertTrue(expected, place("removed", i));
    }

    /// Digest of what is read, or zero and where it is refused. Leaves no memory behind.
    function read(bytes4 selector, bytes memory json)
        private
        view
        returns (uint256 offset, bytes32 digest)
    {
        uint256 free;
        assembly ("memory-safe") {
            free := mload(0x40)
        }
        (bool done, bytes memory result) = call(selector, json);
        if (done) {
            digest = keccak256(result);
        } else {
            vm.assertEq(bytes4(result), IAttestationVerifier.BadJson.selector, "error");
            assembly ("memory-safe") {
                offset := mload(add(result, 0x24))
            }
        }
        assembly ("memory-safe") {
            mstore(0x40, free)
        }
    }

    function call(bytes4 selector, bytes memory json)
        private
        view
        returns (bool done, bytes memory result)
    {
        return address(parser).staticcall(abi.encodeWithSelector(selector, json));
    }

    function without(bytes memory json, uint256 i) private pure returns (bytes memory) {
        return bytes(string.concat(string(json).slice(0, i), string(json).slice(i + 1)));
    }

    function spaced(bytes memory json, uint256 i) private pure returns (bytes memory) {
        return bytes(string.concat(string(json).slice(0, i), " ", string(json).slice(i)));
    }

    function place(string memory what, uint256 i) private pure returns (string memory) {
        return string.concat(what, " ", vm.toString(i));
    }

    function isDigit(bytes1 character) private pure returns (bool) {
        return character >= "0" && character <= "9";
    }

    function isHex(bytes1 character) private pure returns (bool) {
        bytes1 lower = character | 0x20;
        return isDigit(character) || (lower >= "a" && lower <= "f");
    }

    function mayBeInText(bytes1 character) private pure returns (bool) {
        return character >= " " && character < 0x80 && character != "\"" && character != "\\";
    }

    function otherCase(bytes1 a, bytes1 b) private pure returns (bool) {
        return a ^ b == 0x20 && isHex(a) && !isDigit(a);
    }

    /// Every prefix must be refused, though the rest follows in calldata.
    function checkPrefixes(bytes4 selector, bytes memory json) internal view {
        for (uint256 length; length < json.length; ++length) {
            checkPrefix(selector, json, length);
        }
    }

    function checkPrefix(bytes4 selector, bytes memory json, uint256 length) internal view {
        (bool done, bytes memory result) =
            address(parser).staticcall(abi.encodeWithSelector(selector, json, length));
        vm.assertTrue(!done, place("read up to", length));
        vm.assertEq(bytes4(result), IAttestationVerifier.BadJson.selector, "error");
    }

    /// Refused at `offset` exactly.
    function checkRefused(bytes4 selector, string memory json, uint256 offset) internal view {
        (bool done, bytes memory result) = call(selector, bytes(json));
        vm.assertTrue(!done, json);
        bytes memory expected =
            abi.encodeWithSelector(IAttestationVerifier.BadJson.selector, offset);
        vm.assertEq(result, expected, json);
    }

    function checkRead(bytes4 selector, string memory json) internal view {
        (bool done,) = call(selector, bytes(json));
        vm.assertTrue(done, json);
    }

    function moduleAt(string memory json, string memory key, uint256 levelCount)
        internal
        pure
        returns (Module memory module)
    {
        if (levelCount != 0) {
            string memory id = vm.parseJsonString(json, string.concat(key, ".id"));
            module.version = uint8(bytes1(vm.parseBytes(string.concat("0x", id.slice(4)))));
        }
        module.signer = hexAt(json, string.concat(key, ".mrsigner"));
        module.attributes = bytes8(hexAt(json, string.concat(key, ".attributes")));
        module.mask = bytes8(hexAt(json, string.concat(key, ".attributesMask")));
        module.levels = isvLevelsAt(json, key, levelCount);
    }

    function isvLevelsAt(string memory json, string memory key, uint256 count)
        internal
        pure
        returns (IsvLevel[] memory levels)
    {
        levels = new IsvLevel[](count);
        for (uint256 i; i < count; ++i) {
            string memory level = path(string.concat(key, ".tcbLevels"), i);
            levels[i].svn = uint16(vm.parseJsonUint(json, string.concat(level, ".tcb.isvsvn")));
            levels[i].status = statusAt(json, level);
        }
    }

    function levelAt(string memory json, string memory key, bool tdx)
        internal
        pure
        returns (Level memory level)
    {
        level.sgx = componentsAt(json, string.concat(key, ".tcb.sgxtcbcomponents"));
        level.pceSvn = uint16(vm.parseJsonUint(json, string.concat(key, ".tcb.pcesvn")));
        if (tdx) level.tdx = componentsAt(json, string.concat(key, ".tcb.tdxtcbcomponents"));
        level.status = statusAt(json, key);
    }

    function hexAt(string memory json, string memory key) internal pure returns (bytes memory) {
        return vm.parseBytes(string.concat("0x", vm.parseJsonString(json, key)));
    }

    function path(string memory list, uint256 index) internal pure returns (string memory) {
        return string.concat(list, "[", vm.toString(index), "]");
    }

    function componentsAt(string memory json, string memory key)
        private
        pure
        returns (bytes16 svns)
    {
        for (uint256 i; i < 16; ++i) {
            uint256 svn = vm.parseJsonUint(json, string.concat(path(key, i), ".svn"));
            svns |= bytes16(bytes1(uint8(svn))) >> (8 * i);
        }
    }

    function statusAt(string memory json, string memory key) private pure returns (TcbStatus) {
        string memory name = vm.parseJsonString(json, string.concat(key, ".tcbStatus"));
        for (uint256 i; i < 7; ++i) {
            if (CollateralText.statusName(TcbStatus(i)).eq(name)) return TcbStatus(i);
        }
        revert(name);
    }
}
