// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "solady/tokens/ERC20.sol";
import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {Escrow} from "../src/Escrow.sol";
import {TestToken} from "../src/TestToken.sol";
import {IEscrow} from "../src/interfaces/IEscrow.sol";
import {Fixture} from "./Fixture.sol";
import {vm} from "./Vm.sol";

/// Keeps a tenth of what is moved.
contract FeeToken is TestToken {
    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        super.transferFrom(from, to, amount);
        _burn(to, amount / 10);
        return true;
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
    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        super.transferFrom(from, to, amount);
        assembly {
            return(0, 0)
        }
    }
}

/// Calls whom it is told to before it moves anything, once, and goes on whatever the answer.
contract HookToken is TestToken {
    address private target;
    bytes private data;
    bytes public answer;

    function hook(address target_, bytes calldata data_) external {
        (target, data) = (target_, data_);
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        callHook();
        return super.transfer(to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        callHook();
        return super.transferFrom(from, to, amount);
    }

    function callHook() private {
        if (data.length == 0) return;
        bytes memory call = data;
        delete data;
        (, answer) = target.call(call);
    }
}

/// What counts on deposit is what arrives, once.
contract OddTokensTest is Fixture {
    function setUp() public {
        deploy();
    }

    function test_deposit_creditsWhatIsLeftAfterTheTokensFee() public {
        useToken(new FeeToken());
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(USER, address(this), 9 * UNIT);
        escrow.deposit(USER, 10 * UNIT);
        vm.assertEq(escrow.account(USER).free, 9 * UNIT, "free");
    }

    function test_deposit_refusesATokenThatSaysNo() public {
        useToken(new FalseToken());
        vm.expectRevert(abi.encodeWithSelector(SafeTransferLib.TransferFromFailed.selector));
        escrow.deposit(USER, UNIT);
    }

    function test_deposit_takesATokenThatSaysNothing() public {
        useToken(new SilentToken());
        escrow.deposit(USER, UNIT);
        vm.assertEq(escrow.account(USER).free, UNIT, "free");
    }

    function test_withdrawAndCollect_revertWhenTheTokenSaysNo() public {
        useToken(new TestToken());
        fundAndLock("user", 5 * UNIT);
        fund("user", UNIT);
        settleOne(settleRow("user", UNIT, UNIT, 0));
        swapCode(new FalseToken());
        vm.expectRevert(abi.encodeWithSelector(SafeTransferLib.TransferFailed.selector));
        vm.prank(OWNER);
        escrow.withdraw(USER, UNIT);
        vm.expectRevert(abi.encodeWithSelector(SafeTransferLib.TransferFailed.selector));
        escrow.collect(podId);
        vm.assertEq(escrow.account(USER).free, UNIT, "free");
        vm.assertEq(escrow.credit(podId), UNIT, "credit");
    }

    function test_deposit_enteredFromTheTokenCountsOnce() public {
        HookToken hooked = new HookToken();
        useToken(hooked);
        hooked.mint(address(hooked), UNIT);
        vm.prank(address(hooked));
        hooked.approve(address(escrow), UNIT);
        hooked.hook(address(escrow), abi.encodeCall(escrow.deposit, (USER, UNIT)));
        escrow.deposit(USER, UNIT);
        vm.assertEq(
            hooked.answer(), abi.encodeWithSelector(IEscrow.Reentered.selector), "inner deposit"
        );
        vm.assertEq(escrow.account(USER).free, UNIT, "free");
        vm.assertEq(hooked.balanceOf(address(escrow)), UNIT, "balance");
    }

    function test_deposit_canBeMadeTwiceInATransaction() public {
        useToken(new TestToken());
        escrow.deposit(USER, UNIT);
        escrow.deposit(USER, UNIT);
        vm.assertEq(escrow.account(USER).free, 2 * UNIT, "free");
    }

    function test_collect_fromInsideTheTokenFindsNothing() public {
        HookToken hooked = new HookToken();
        useToken(hooked);
        fundAndLock("user", 5 * UNIT);
        settleOne(settleRow("user", UNIT, UNIT, 0));
        hooked.hook(address(escrow), abi.encodeCall(escrow.collect, (podId)));
        escrow.collect(podId);
        bytes memory refusal = abi.encodeWithSelector(IEscrow.NothingToCollect.selector, podId);
        vm.assertEq(hooked.answer(), refusal, "inner collect");
        vm.assertEq(hooked.balanceOf(PAYOUT), UNIT, "payout");
    }

    /// The owner withdraws from inside its own withdrawal: the second one finds the smaller free
    /// part.
    function test_withdraw_fromInsideTheTokenFindsTheRest() public {
        HookToken hooked = new HookToken();
        useToken(hooked);
        address owner = address(hooked);
        string memory label = "user of the token";
        address user = addressOf(label);
        escrow.openAndDeposit(user, owner, openSignature(label, owner), UNIT);
        escrow.deposit(USER, UNIT);
        hooked.hook(address(escrow), abi.encodeCall(escrow.withdraw, (user, UNIT)));
        vm.prank(owner);
        escrow.withdraw(user, UNIT);
        bytes memory refusal =
            abi.encodeWithSelector(IEscrow.InsufficientFree.selector, user, 0, UNIT);
        vm.assertEq(hooked.answer(), refusal, "inner withdrawal");
        vm.assertEq(hooked.balanceOf(owner), UNIT, "withdrawn");
        vm.assertEq(hooked.balanceOf(address(escrow)), UNIT, "the other account's");
    }

    /// A new escrow for this token, with the user's account open and plenty to deposit.
    function useToken(TestToken odd) private {
        token = odd;
        escrow = new Escrow(address(odd), registry);
        odd.mint(address(this), 100 * UNIT);
        odd.approve(address(escrow), type(uint256).max);
        escrow.open(USER, OWNER, openSignature("user", OWNER));
    }

    /// The token turns odd after money is inside.
    function swapCode(ERC20 odd) private {
        vm.etch(address(token), address(odd).code);
    }
}
