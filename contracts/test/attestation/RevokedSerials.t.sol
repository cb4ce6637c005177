// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Issuer, RevokedSerials} from "../../src/attestation/RevokedSerials.sol";
import {bound, vm} from "../Vm.sol";

/// The library behind external calls, with memory that others have used before.
contract RevokedSerialsStore {
    function write(Issuer memory issuer, uint256[] memory hashes)
        external
        returns (address record, uint256 places)
    {
        assembly ("memory-safe") {
            for { let at_ := mload(0x40) } lt(at_, 0x40000) { at_ := add(at_, 0x20) } {
                mstore(at_, not(0))
            }
        }
        return RevokedSerials.write(issuer, hashes);
    }

    function contains(address record, uint256 places, uint256 serial) external view returns (bool) {
        return RevokedSerials.contains(record, places, serial);
    }

    function issuerOf(address record) external view returns (Issuer memory) {
        return RevokedSerials.issuerOf(record);
    }
}

contract RevokedSerialsTest {
    RevokedSerialsStore private immutable STORE = new RevokedSerialsStore();

    function testFuzz_containsWhatWasWrittenAndNothingElse(uint256 count, uint256 seed) public {
        count = bound(count, 1, 300);
        (address record, uint256 places) = STORE.write(issuer(), hashes(seed, count));
        for (uint256 i; i < count; ++i) {
            vm.assertEq(STORE.contains(record, places, serialAt(seed, i)), true, "revoked");
            vm.assertEq(STORE.contains(record, places, serialAt(seed, count + i)), false, "good");
        }
    }

    function test_containsAsManyAsFit() public {
        uint256 count = RevokedSerials.MAX;
        (address record, uint256 places) = STORE.write(issuer(), hashes(1, count));
        vm.assertEq(places, 2700, "places");
        for (uint256 i; i < count; ++i) {
            vm.assertEq(STORE.contains(record, places, serialAt(1, i)), true, "revoked");
        }
        for (uint256 i = count; i < 3 * count; ++i) {
            vm.assertEq(STORE.contains(record, places, serialAt(1, i)), false, "good");
        }
    }

    /// All in one cluster that begins at the last place: the table runs over its end, and a search
    /// takes more than one window.
    function test_containsSerialsThatBelongAtTheLastPlace() public {
        uint256 count = 70;
        uint256 places = 105;
        uint256[] memory serials = new uint256[](2 * count);
        uint256 found;
        for (uint256 serial; found < serials.length; ++serial) {
            if (hashOf(serial) % places == places - 1) serials[found++] = serial;
        }
        uint256[] memory list = new uint256[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = hashOf(serials[i]);
        }
        (address record, uint256 got) = STORE.write(issuer(), list);
        vm.assertEq(got, places, "places");
        vm.assertEq(record.code.length, 1 + 128 + 8 * (places - 1 + count), "size");
        for (uint256 i; i < count; ++i) {
            vm.assertEq(STORE.contains(record, places, serials[i]), true, "revoked");
            vm.assertEq(STORE.contains(record, places, serials[count + i]), false, "good");
        }
    }

    function test_takesTheSameSerialTwice() public {
        uint256[] memory list = new uint256[](3);
        (list[0], list[1], list[2]) = (hashOf(7), hashOf(7), hashOf(8));
        (address record, uint256 places) = STORE.write(issuer(), list);
        vm.assertEq(STORE.contains(record, places, 7), true, "twice");
        vm.assertEq(STORE.contains(record, places, 8), true, "once");
        vm.assertEq(STORE.contains(record, places, 9), false, "never");
    }

    /// A hash that begins with zeros must not look like an empty place.
    function test_containsAHashThatBeginsWithZeros() public {
        uint256[] memory list = new uint256[](2);
        (list[0], list[1]) = (4, 1);
        (address record, uint256 places) = STORE.write(issuer(), list);
        vm.assertEq(places, 3, "places");
        bytes memory table = hex"000000000000000000000000000000010000000000000001";
        bytes memory code = record.code;
        for (uint256 i; i < 24; ++i) {
            vm.assertEq(uint8(code[129 + i]), uint8(table[i]), "table");
        }
    }

    function test_keepsTheIssuer() public {
        for (uint256 count; count < 3; ++count) {
            (address record, uint256 places) = STORE.write(issuer(), hashes(1, count));
            Issuer memory got = STORE.issuerOf(record);
            vm.assertEq(got.x, issuer().x, "x");
            vm.assertEq(got.y, issuer().y, "y");
            vm.assertEq(got.name, issuer().name, "name");
            vm.assertEq(got.keyId, issuer().keyId, "key id");
            vm.assertEq(places, count + (count + 1) / 2, "places");
        }
    }

    function test_withoutSerialsContainsNothing() public {
        (address record, uint256 places) = STORE.write(issuer(), new uint256[](0));
        vm.assertEq(places, 0, "places");
        vm.assertEq(record.code.length, 129, "size");
        vm.assertEq(STORE.contains(record, places, 0), false, "zero");
        vm.assertEq(STORE.contains(address(0), 0, 0), false, "no record");
    }

    function issuer() private pure returns (Issuer memory) {
        return Issuer(keccak256("x"), keccak256("y"), keccak256("name"), keccak256("key id"));
    }

    function hashes(uint256 seed, uint256 count) private pure returns (uint256[] memory list) {
        list = new uint256[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = hashOf(serialAt(seed, i));
        }
    }

    function serialAt(uint256 seed, uint256 i) private pure returns (uint256) {
        return uint160(uint256(keccak256(abi.encode(seed, i))));
    }

    function hashOf(uint256 serial) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(serial)));
    }
}
