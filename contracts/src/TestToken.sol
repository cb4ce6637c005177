// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "solady/tokens/ERC20.sol";

/// @title A worthless token for development chains and tests only
/// @notice Anyone can mint any amount. Never deploy it where tokens are worth something.
contract TestToken is ERC20 {
    /// @notice Creates `amount` (in millionths of a token) for `to`. Open to everybody.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @inheritdoc ERC20
    function name() public pure override returns (string memory) {
        return "Phallama Test Token";
    }

    /// @inheritdoc ERC20
    function symbol() public pure override returns (string memory) {
        return "PTEST";
    }

    /// @inheritdoc ERC20
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
