// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "solady/tokens/ERC20.sol";
import {TestToken} from "../src/TestToken.sol";

/// Keeps a tenth of what is moved.
contract FeeToken is TestToken {
    function _afterTokenTransfer(address from, address to, uint256 amount) internal override {
        if (from != address(0) && to != address(0)) _burn(to, amount / 10);
    }
}

/// Says no without reverting.
contract FalseToken is TestToken {
    function transfer(address, uint256) public pure override returns (bool) {
        return false;
    }

    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return false;
    }
}

/// Says nothing, as some old tokens do.
contract SilentToken is TestToken {
    function transfer(address to, uint256 amount) public override returns (bool) {
        super.transfer(to, amount);
        assembly {
            return(0, 0)
        }
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        super.transferFrom(from, to, amount);
        assembly {
            return(0, 0)
        }
    }
}

/// Takes any call for a good one, as wrapped coins with a fallback do, but moves only by `transfer`
/// and `transferFrom`.
contract NoddingToken is ERC20 {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function name() public pure override returns (string memory) {
        return "nods";
    }

    function symbol() public pure override returns (string memory) {
        return "NOD";
    }

    function permit(address, address, uint256, uint256, uint8, bytes32, bytes32)
        public
        virtual
        override
    {}

    fallback() external {}
}

/// Has nothing beyond ERC-20: no permit, no authorization.
contract PlainToken is NoddingToken {
    function permit(address, address, uint256, uint256, uint8, bytes32, bytes32)
        public
        pure
        override
    {
        revert();
    }
}

/// Its issuer can stop all of it, or one address.
contract IssuedToken is TestToken {
    error Stopped(address holder);

    mapping(address holder => bool) private stopped;

    /// Everybody, for zero.
    function stop(address holder, bool yes) external {
        stopped[holder] = yes;
    }

    function _beforeTokenTransfer(address from, address to, uint256) internal view override {
        require(!stopped[address(0)], Stopped(address(0)));
        require(!stopped[from], Stopped(from));
        require(!stopped[to], Stopped(to));
    }
}

/// Calls whom it is told to before or after it moves anything, once, and goes on whatever the
/// answer: the sender's or the receiver's hook of other token standards.
contract HookToken is TestToken {
    address private target;
    bytes private data;
    bool private late;
    bytes public answer;

    function hook(address target_, bytes calldata data_, bool late_) external {
        (target, data, late) = (target_, data_, late_);
    }

    function _beforeTokenTransfer(address, address, uint256) internal override {
        if (!late) callHook();
    }

    function _afterTokenTransfer(address, address, uint256) internal override {
        if (late) callHook();
    }

    function callHook() private {
        if (data.length == 0) return;
        bytes memory call = data;
        delete data;
        (, answer) = target.call(call);
    }
}
