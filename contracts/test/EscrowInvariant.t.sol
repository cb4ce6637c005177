// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EscrowHandler} from "./EscrowHandler.sol";
import {vm} from "./Vm.sol";

/// What forge reads from `targetSelectors`.
struct FuzzSelector {
    address addr;
    bytes4[] selectors;
}

/// Properties that hold after any sequence of calls by anybody.
///
/// Many short runs from a state in which money is already locked: a fault needs few steps, and ten
/// thousand runs fit into some minutes. They are two times five thousand with a seed each, because
/// forge runs tests side by side, and runs one after the other. The nightly profile makes them longer.
/// forge-config: default.invariant.runs = 5000
/// forge-config: default.invariant.depth = 8
contract EscrowInvariantTest {
    EscrowHandler private handler;

    function setUp() public {
        handler = new EscrowHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), handler.actions());
    }

    /// Nothing is made or lost, no channel moves without its signatures, no exit is delayed.
    function invariant_escrow() public {
        handler.checkBalance();
        handler.checkChannels();
    }

    /// The same with other sequences.
    /// forge-config: default.fuzz.seed = "0x70686f746f6e"
    /// forge-config: nightly.fuzz.seed = "0x70686f746f6e"
    function invariant_escrowAgain() public {
        invariant_escrow();
    }

    /// At the end of each run everybody leaves.
    function afterInvariant() external {
        handler.checkThatAllCanLeave();
    }

    /// Every step of the handler does what it is for at least once in this story.
    function test_handlerReachesEveryStep() public {
        uint256[3] memory first = [uint256(0), 0, 0];
        uint256[3] memory high = [uint256(40e6), 40e6, 40e6];
        handler.lock(0, first, high, 0);
        handler.settle(0, first, high, high);
        handler.settleReceipt(1, 1, 40e6, 20e6);
        handler.startExit(0, 0, true);
        handler.meddle(0, 0);
        handler.finishExit(1, 2, false);
        handler.finishExit(1, 2, true);
        handler.replay(0);
        handler.close(1, 1, 50e6, true);
        handler.collect(0);
        handler.withdraw(2, 10e6, true);
        string[11] memory steps = [
            "lock",
            "settle",
            "settleReceipt",
            "startExit",
            "meddle",
            "finishExit",
            "dead batch",
            "close",
            "comeBack",
            "collect",
            "withdraw"
        ];
        for (uint256 i; i < steps.length; ++i) {
            vm.assertGe(handler.done(steps[i]), 1, steps[i]);
        }
        invariant_escrow();
        handler.checkThatAllCanLeave();
    }
}
