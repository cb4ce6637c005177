// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DateTimeLib} from "solady/utils/DateTimeLib.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";
import {Der} from "../../src/attestation/Der.sol";
import {IAttestationVerifier as V} from "../../src/interfaces/IAttestationVerifier.sol";
import {DerWriter} from "../DerWriter.sol";
import {bound, vm} from "../Vm.sol";

/// The library behind external calls. Each takes the parent first, which is all that may be read,
/// though `rest` lies behind it in the call's data.
contract DerReading {
    function open(bytes calldata parent, bytes calldata, uint256 tag)
        external
        pure
        returns (bytes calldata content, uint256 size)
    {
        uint256 start = startOf(parent);
        (uint256 from, uint256 next) = Der.open(start, start + parent.length, tag);
        return (parent[from - start:next - start], next - start);
    }

    function unsigned(bytes calldata parent, bytes calldata) external pure returns (uint256 value) {
        uint256 start = startOf(parent);
        uint256 next;
        (value, next) = Der.unsigned(start, start + parent.length);
        Der.done(next, start + parent.length);
    }

    function time(bytes calldata parent, bytes calldata) external pure returns (uint256 unix) {
        uint256 start = startOf(parent);
        uint256 next;
        (unix, next) = Der.time(start, start + parent.length);
        Der.done(next, start + parent.length);
    }

    /// Of a parent that is shorter than `der` by `cut` bytes.
    function timeInLess(bytes calldata der, uint256 cut) external pure returns (uint256 unix) {
        uint256 start = startOf(der);
        (unix,) = Der.time(start, start + der.length - cut);
    }

    function digests(bytes calldata parent) external view returns (bytes32, bytes32) {
        uint256 start = startOf(parent);
        return (Der.keccak(start, start + parent.length), Der.sha(start, start + parent.length));
    }

    function startOf(bytes calldata parent) private pure returns (uint256 start) {
        assembly {
            start := parent.offset
        }
    }
}

contract DerTest {
    using LibBytes for bytes;

    // Selector, two offsets, length of the parent; and one word more with a tag.
    uint256 private constant PARENT = 4 + 3 * 32;
    uint256 private constant PARENT_WITH_TAG = PARENT + 32;
    bytes private constant REST =
        hex"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    DerReading private immutable READING = new DerReading();

    // Elements.

    function test_open_takesTheShortestFormOfEachLength() public view {
        uint24[10] memory sizes = [0, 1, 127, 128, 255, 256, 257, 65_535, 65_536, 70_000];
        for (uint256 i; i < sizes.length; ++i) {
            opens(sizes[i]);
        }
    }

    function testFuzz_open_takesTheShortestFormOfEachLength(uint256 size) public view {
        opens(bound(size, 0, 20_000));
    }

    function test_open_refusesOtherFormsOfLengths() public {
        bytes memory zeros = new bytes(70_000);
        refusesElement(bytes.concat(hex"0480", zeros));
        refusesElement(bytes.concat(hex"048101", zeros));
        refusesElement(bytes.concat(hex"04817f", zeros));
        refusesElement(bytes.concat(hex"048200ff", zeros));
        refusesElement(bytes.concat(hex"04820001", zeros));
        refusesElement(bytes.concat(hex"048300ffff", zeros));
        refusesElement(bytes.concat(hex"048400000001", zeros));
        refusesElement(bytes.concat(hex"048400010000", zeros));
        refusesElement(bytes.concat(hex"0485", zeros));
        refusesElement(bytes.concat(hex"04ff", zeros));
    }

    function test_open_refusesOtherTags() public {
        for (uint256 tag; tag < 256; ++tag) {
            bytes memory der = abi.encodePacked(uint8(tag), hex"0100");
            if (tag == Der.OCTET_STRING) READING.open(der, REST, tag);
            else refusesElement(der);
            der = abi.encodePacked(uint8(tag), hex"8180", new bytes(128));
            if (tag == Der.OCTET_STRING) READING.open(der, REST, tag);
            else refusesElement(der);
        }
    }

    function test_open_refusesAnElementThatIsCutAnywhere() public {
        uint16[4] memory sizes = [1, 127, 128, 256];
        for (uint256 i; i < sizes.length; ++i) {
            bytes memory der = DerWriter.tlv(0x04, new bytes(sizes[i]));
            for (uint256 length; length < der.length; ++length) {
                refusesElement(der.slice(0, length));
            }
        }
    }

    function test_open_leavesWhatFollowsAlone() public view {
        (bytes memory content, uint256 size) = READING.open(hex"0402aabbcc", REST, 0x04);
        vm.assertEq(content, hex"aabb", "content");
        vm.assertEq(size, 4, "size");
    }

    // Integers.

    function test_unsigned_readsIntegers() public view {
        readsInteger(hex"020100", 0);
        readsInteger(hex"02017f", 127);
        readsInteger(hex"02020080", 128);
        readsInteger(hex"020200ff", 255);
        readsInteger(hex"02020100", 256);
        uint256 most = type(uint256).max;
        readsInteger(bytes.concat(hex"022100", bytes32(most)), most);
        readsInteger(bytes.concat(hex"0220", bytes32(most >> 1)), most >> 1);
    }

    function testFuzz_unsigned_readsIntegers(uint256 value, uint8 shift) public view {
        value >>= shift;
        readsInteger(DerWriter.integer(abi.encodePacked(value)), value);
    }

    function test_unsigned_refusesOtherIntegers() public {
        refusesInteger(hex"0200");
        refusesInteger(hex"020180");
        refusesInteger(hex"0201ff");
        refusesInteger(hex"0202ffff");
        refusesInteger(hex"02020000");
        refusesInteger(hex"0202007f");
        refusesInteger(hex"0203000080");
        refusesInteger(hex"02810101");
        refusesInteger(hex"030101");
        // 2^256 and 2^256 with a byte too many.
        refusesInteger(bytes.concat(hex"022101", bytes32(0)));
        refusesInteger(bytes.concat(hex"02220100", bytes32(0)));
        refusesInteger(bytes.concat(hex"02220080", bytes32(0)));
    }

    function test_unsigned_refusesAnIntegerThatIsCutAnywhere() public {
        bytes memory der = bytes.concat(hex"022100", bytes32(type(uint256).max));
        for (uint256 length; length < der.length; ++length) {
            refusesInteger(der.slice(0, length));
        }
    }

    // Dates.

    function test_time_readsDates() public view {
        readsTime(hex"170d", "700101000000Z", 0);
        readsTime(hex"170d", "991231235959Z", 946_684_799);
        readsTime(hex"170d", "000101000000Z", 946_684_800);
        readsTime(hex"170d", "000229000000Z", 951_782_400);
        readsTime(hex"170d", "240229000001Z", 1_709_164_801);
        readsTime(hex"170d", "491231235959Z", 2_524_607_999);
        readsTime(hex"180f", "20500101000000Z", 2_524_608_000);
        readsTime(hex"180f", "19700101000000Z", 0);
        readsTime(hex"180f", "21000301000000Z", 4_107_542_400);
        readsTime(hex"180f", "99991231235959Z", 253_402_300_799);
    }

    function testFuzz_time_readsDates(uint256 unix) public view {
        unix = bound(unix, 946_684_800, 2_524_607_999);
        vm.assertEq(READING.time(DerWriter.utcTime(unix), REST), unix, "UTCTime");
    }

    /// Every day from 1970 to 2110, which has each kind of leap year, and the last ones.
    function test_time_readsEveryDay() public view {
        for (uint256 day; day < 140 * 366; day += 13) {
            readsDay(day);
        }
        for (uint256 day = 2_932_896 - 1000; day <= 2_932_896; ++day) {
            readsDay(day);
        }
    }

    function test_time_refusesDatesThatAreNone() public {
        string[15] memory dates = [
            "240001000000Z",
            "241301000000Z",
            "240100000000Z",
            "240132000000Z",
            "240431000000Z",
            "230229000000Z",
            "240230000000Z",
            "240101240000Z",
            "240101006000Z",
            "240101000060Z",
            "240101000000A",
            "2401010000000",
            "500101000000Z",
            "691231235959Z",
            "240199000000Z"
        ];
        for (uint256 i; i < dates.length; ++i) {
            refusesTime(bytes.concat(hex"170d", bytes(dates[i])));
        }
        refusesTime(bytes.concat(hex"180f", "19691231235959Z"));
        refusesTime(bytes.concat(hex"180f", "21000229000000Z"));
        refusesTime(bytes.concat(hex"180f", "240101000000ZZZ"));
    }

    function test_time_refusesWhatIsNoDigit() public {
        bytes memory good = bytes.concat(hex"170d", "240102030405Z");
        bytes memory others = hex"0001090a1011202a2f3a3b3f404f7071807fb0b1b9cfe0f0f1f9fafdff";
        for (uint256 i = 2; i < 14; ++i) {
            for (uint256 k; k < others.length; ++k) {
                bytes memory der = bytes.concat(good);
                der[i] = others[k];
                refusesTime(der);
            }
        }
    }

    function test_time_refusesOtherForms() public {
        refusesTime(bytes.concat(hex"160d", "240102030405Z"));
        refusesTime(bytes.concat(hex"170f", "20240102030405Z"));
        refusesTime(bytes.concat(hex"180d", "240102030405Z"));
        refusesTime(bytes.concat(hex"170b", "2401020304Z"));
        refusesTime(bytes.concat(hex"1711", "240102030405+0100"));
        refusesTime(bytes.concat(hex"1811", "20240102030405.5Z"));
        refusesTime(bytes.concat(hex"17810d", "240102030405Z"));
    }

    function test_time_refusesADateThatIsCutAnywhere() public {
        bytes memory der = bytes.concat(hex"170d", "240102030405Z");
        bytes memory long = bytes.concat(hex"180f", "20240102030405Z");
        for (uint256 length; length < der.length; ++length) {
            refusesTime(der.slice(0, length));
        }
        for (uint256 length; length < long.length; ++length) {
            refusesTime(long.slice(0, length));
        }
    }

    function test_time_refusesADateThatSticksOutOfItsParent() public {
        bytes memory der = bytes.concat(hex"170d", "240102030405Z");
        vm.assertEq(READING.timeInLess(der, 0), 1_704_164_645, "whole");
        for (uint256 cut = 1; cut <= der.length; ++cut) {
            vm.expectRevert(abi.encodeWithSelector(V.BadDer.selector, PARENT));
            READING.timeInLess(der, cut);
        }
    }

    // Digests.

    function testFuzz_digests(bytes calldata data) public view {
        (bytes32 keccak, bytes32 sha) = READING.digests(data);
        vm.assertEq(keccak, keccak256(data), "keccak256");
        vm.assertEq(sha, sha256(data), "SHA-256");
    }

    function opens(uint256 size) private view {
        bytes memory content = new bytes(size);
        if (size != 0) (content[0], content[size - 1]) = (0xaa, 0xbb);
        bytes memory der = DerWriter.tlv(0x04, content);
        (bytes memory got, uint256 length) = READING.open(der, REST, Der.OCTET_STRING);
        vm.assertEq(got, content, "content");
        vm.assertEq(length, der.length, "length");
    }

    function refusesElement(bytes memory der) private {
        vm.expectRevert(abi.encodeWithSelector(V.BadDer.selector, PARENT_WITH_TAG));
        READING.open(der, REST, Der.OCTET_STRING);
    }

    function readsInteger(bytes memory der, uint256 value) private view {
        vm.assertEq(READING.unsigned(der, REST), value, "integer");
    }

    function refusesInteger(bytes memory der) private {
        vm.expectRevert(abi.encodeWithSelector(V.BadDer.selector, PARENT));
        READING.unsigned(der, REST);
    }

    function readsTime(bytes memory head, string memory text, uint256 unix) private view {
        vm.assertEq(READING.time(bytes.concat(head, bytes(text)), REST), unix, text);
    }

    function readsDay(uint256 day) private view {
        (uint256 year, uint256 month, uint256 ofMonth) = DateTimeLib.epochDayToDate(day);
        bytes memory text = abi.encodePacked(
            DerWriter.two(year / 100),
            DerWriter.two(year % 100),
            DerWriter.two(month),
            DerWriter.two(ofMonth),
            "235958Z"
        );
        readsTime(hex"180f", string(text), day * 1 days + 86_398);
    }

    function refusesTime(bytes memory der) private {
        vm.expectRevert(abi.encodeWithSelector(V.BadDer.selector, PARENT));
        READING.time(der, REST);
    }
}
