// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPodRegistry, PodId} from "../src/interfaces/IPodRegistry.sol";

/// Stands where the escrow expects the registry, in tests of properties that must hold whatever a
/// registry says: it accepts and drops any key at any time, which the real one does only with a
/// quote or as time passes. It has the two functions that the escrow calls.
contract KeyList {
    /// As `IPodRegistry.keyGoodUntil`.
    mapping(PodId podId => mapping(address identity => uint256)) public keyGoodUntil;
    /// As `IPodRegistry.payoutOf`.
    mapping(PodId podId => address) public payoutOf;

    function accept(PodId podId, address identity, uint256 until) external {
        keyGoodUntil[podId][identity] = until;
    }

    function setPayout(PodId podId, address payout) external {
        payoutOf[podId] = payout;
    }

    function asRegistry() external view returns (IPodRegistry) {
        return IPodRegistry(address(this));
    }
}
