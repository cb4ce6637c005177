// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RevokedSerials} from "../../src/attestation/RevokedSerials.sol";
import {vm} from "../Vm.sol";
import {Authorities} from "./Authorities.sol";

/// What revocation costs: whole transactions to bring a list, a cold lookup to use it.
///
/// With `isolate` forge runs each call of a test as a transaction of its own.
/// forge-config: default.isolate = true
/// forge-config: nightly.isolate = true
contract CollateralGasTest is Authorities {
    // A list without serials, and what each of them adds: calldata, code and reading.
    uint256 private constant LIST_MAX = 140_000;
    uint256 private constant SERIAL_MAX = 6_500;
    // Among a thousand serials.
    uint256 private constant LOOKUP_MEAN = 3_500;
    uint256 private constant LOOKUP_WORST = 6_000;

    function test_upsertCrl_costsTheSameForEachSerial() public {
        uint16[5] memory counts = [0, 1, 10, 100, 1000];
        uint256 base;
        uint256 least = type(uint256).max;
        uint256 most;
        for (uint256 i; i < counts.length; ++i) {
            uint256 used = upsertOf(counts[i]);
            if (i == 0) base = used;
            vm.assertLe(used, LIST_MAX + SERIAL_MAX * counts[i], vm.toString(used));
            if (i < 3) continue;
            uint256 perSerial = (used - base) / counts[i];
            if (perSerial < least) least = perSerial;
            if (perSerial > most) most = perSerial;
        }
        vm.assertLe(most, SERIAL_MAX, "per serial");
        // Linear: a serial among a thousand costs what one among a hundred does.
        vm.assertLe((most - least) * 20, most, "spread of at most a twentieth");
    }

    function test_contains_looksAtOneCodeOnly() public {
        uint256[] memory hashes = new uint256[](1000);
        for (uint256 i; i < hashes.length; ++i) {
            hashes[i] = uint256(keccak256(abi.encode(i)));
        }
        LookupGas lookup = new LookupGas(hashes);
        uint256 sum;
        for (uint256 i; i < 100; ++i) {
            uint256 used = lookup.gasOf(i % 2 == 0 ? i : 1000 + i, i % 2 == 0);
            vm.assertLe(used, LOOKUP_WORST, "in a long cluster");
            sum += used;
        }
        vm.assertLe(sum / 100, LOOKUP_MEAN, "mean");
    }

    function upsertOf(uint256 count) private returns (uint256) {
        vm.warp(block.timestamp + 1);
        bytes memory der = longList(count, count);
        verifier.upsertCrl(platformCa, der);
        return vm.lastCallGas().gasTotalUsed;
    }
}

/// A table of serials, and what a cold lookup in it costs.
contract LookupGas {
    address private immutable RECORD;
    uint256 private immutable PLACES;

    constructor(uint256[] memory hashes) {
        (RECORD, PLACES) = RevokedSerials.write(RevokedSerials.issuerOf(address(0)), hashes);
    }

    function gasOf(uint256 serial, bool expected) external view returns (uint256 used) {
        used = gasleft();
        bool found = RevokedSerials.contains(RECORD, PLACES, serial);
        used -= gasleft();
        require(found == expected, "answer");
    }
}
