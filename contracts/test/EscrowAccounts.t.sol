// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {Eip712} from "../src/Eip712.sol";
import {Escrow} from "../src/Escrow.sol";
import {Account, CompactSignature, IEscrow} from "../src/interfaces/IEscrow.sol";
import {IPodRegistry} from "../src/interfaces/IPodRegistry.sol";
import {Fixture} from "./Fixture.sol";
import {bound, vm} from "./Vm.sol";

/// Opening, depositing, withdrawing.
contract EscrowAccountsTest is Fixture {
    address private immutable STRANGER = addressOf("stranger");

    function setUp() public {
        deploy();
        token.mint(address(this), 100 * UNIT);
        token.approve(address(escrow), type(uint256).max);
    }

    function test_constructor_refusesAddressesWithoutCode() public {
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NoCode.selector, STRANGER));
        new Escrow(STRANGER, registry);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NoCode.selector, address(0)));
        new Escrow(address(token), IPodRegistry(address(0)));
    }

    function test_constants() public view {
        vm.assertEq(escrow.TOKEN(), address(token), "TOKEN");
        vm.assertEq(address(escrow.REGISTRY()), address(registry), "REGISTRY");
        vm.assertEq(escrow.EXIT_WINDOW(), 172_800, "EXIT_WINDOW");
        vm.assertEq(registry.KEY_LIFE_MAX(), 604_800, "KEY_LIFE_MAX");
        vm.assertEq(registry.KEY_GRACE(), 604_800, "KEY_GRACE");
    }

    function test_separator_followsTheChainId() public {
        bytes32 before = escrow.DOMAIN_SEPARATOR();
        vm.assertEq(before, Eip712.domain(address(escrow)), "at deployment");
        vm.chainId(4242);
        vm.assertEq(escrow.DOMAIN_SEPARATOR(), Eip712.domain(address(escrow)), "after a fork");
        vm.assertTrue(escrow.DOMAIN_SEPARATOR() != before, "differs");
    }

    function test_open_setsTheOwnerOnce() public {
        vm.expectEmit(address(escrow));
        emit IEscrow.AccountOpened(USER, OWNER);
        escrow.open(USER, OWNER, openSignature("user", OWNER));
        vm.assertEq(escrow.account(USER).owner, OWNER, "owner");
        refuseOpen(
            USER,
            STRANGER,
            openSignature("user", STRANGER),
            abi.encodeWithSelector(IEscrow.AlreadyOpen.selector, USER, OWNER)
        );
        refuseOpen(
            USER,
            OWNER,
            openSignature("user", OWNER),
            abi.encodeWithSelector(IEscrow.AlreadyOpen.selector, USER, OWNER)
        );
    }

    function test_open_refusesZeroOwner() public {
        refuseOpen(
            USER,
            address(0),
            openSignature("user", address(0)),
            abi.encodeWithSelector(IEscrow.ZeroOwner.selector)
        );
    }

    function test_open_refusesAnotherSigner() public {
        refuseOpen(
            USER,
            OWNER,
            sign("stranger", keccak256(abi.encode(Eip712.OPEN_ACCOUNT_TYPE, USER, OWNER))),
            abi.encodeWithSelector(IEscrow.WrongSigner.selector, USER, STRANGER)
        );
    }

    function test_open_refusesTheHighS() public {
        refuseOpen(
            USER,
            OWNER,
            CompactSignature(bytes32(uint256(1)), bytes32(type(uint256).max >> 1)),
            abi.encodeWithSelector(IEscrow.WrongSigner.selector, USER, address(0))
        );
    }

    function test_open_refusesAZeroSigner() public {
        // r = 0 is on no curve point, so the recovery fails and gives zero, here also the user.
        refuseOpen(
            address(0),
            OWNER,
            CompactSignature(0, bytes32(uint256(1))),
            abi.encodeWithSelector(IEscrow.WrongSigner.selector, address(0), address(0))
        );
    }

    function test_open_refusesSignaturesOfOtherDomains() public {
        CompactSignature memory signature = openSignature("user", OWNER);
        Escrow first = escrow;
        escrow = new Escrow(address(token), registry);
        refuseOpen(USER, OWNER, signature, wrongSigner(signature));
        escrow = first;
        vm.chainId(4242);
        refuseOpen(USER, OWNER, signature, wrongSigner(signature));
    }

    function test_deposit_byAnybodyAddsToFreeOnly() public {
        escrow.open(USER, OWNER, openSignature("user", OWNER));
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(USER, address(this), UNIT);
        escrow.deposit(USER, UNIT);
        escrow.deposit(USER, 2 * UNIT);
        assertAccount(OWNER, 3 * UNIT);
        vm.assertEq(token.balanceOf(address(escrow)), 3 * UNIT, "balance");
    }

    function test_deposit_refusesAClosedAccount() public {
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOpen.selector, USER));
        escrow.deposit(USER, UNIT);
    }

    function test_deposit_refusesNothing() public {
        escrow.open(USER, OWNER, openSignature("user", OWNER));
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NothingArrived.selector));
        escrow.deposit(USER, 0);
    }

    function test_deposit_refusesWhatThePayerDoesNotHave() public {
        escrow.open(USER, OWNER, openSignature("user", OWNER));
        vm.expectRevert(abi.encodeWithSelector(SafeTransferLib.TransferFromFailed.selector));
        escrow.deposit(USER, 1000 * UNIT);
    }

    function test_deposit_refusesMoreThan96Bits() public {
        escrow.open(USER, OWNER, openSignature("user", OWNER));
        token.mint(address(this), type(uint128).max);
        escrow.deposit(USER, type(uint96).max);
        assertAccount(OWNER, type(uint96).max);
        vm.expectRevert(
            abi.encodeWithSelector(
                IEscrow.FreeTooLarge.selector, USER, uint256(type(uint96).max), 1
            )
        );
        escrow.deposit(USER, 1);
    }

    function test_openAndDeposit_opensOnce() public {
        CompactSignature memory signature = openSignature("user", OWNER);
        escrow.openAndDeposit(USER, OWNER, signature, UNIT);
        escrow.openAndDeposit(USER, OWNER, CompactSignature(0, 0), UNIT);
        assertAccount(OWNER, 2 * UNIT);
    }

    function test_openAndDeposit_refusesAnotherOwner() public {
        escrow.open(USER, OWNER, openSignature("user", OWNER));
        CompactSignature memory signature = openSignature("user", STRANGER);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.AlreadyOpen.selector, USER, OWNER));
        escrow.openAndDeposit(USER, STRANGER, signature, UNIT);
    }

    function test_openAndDeposit_refusesZeroOwner() public {
        CompactSignature memory signature = openSignature("user", address(0));
        vm.expectRevert(abi.encodeWithSelector(IEscrow.ZeroOwner.selector));
        escrow.openAndDeposit(USER, address(0), signature, UNIT);
    }

    function test_withdraw_paysTheOwner() public {
        fund("user", 3 * UNIT);
        vm.expectEmit(address(escrow));
        emit IEscrow.Withdrawn(USER, OWNER, UNIT);
        vm.prank(OWNER);
        escrow.withdraw(USER, UNIT);
        assertAccount(OWNER, 2 * UNIT);
        vm.assertEq(token.balanceOf(OWNER), UNIT, "owner's balance");
    }

    function test_withdraw_isTheOwnersAlone() public {
        fund("user", UNIT);
        address[2] memory others = [USER, STRANGER];
        for (uint256 i; i < others.length; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(IEscrow.NotOwner.selector, USER, OWNER, others[i])
            );
            vm.prank(others[i]);
            escrow.withdraw(USER, UNIT);
        }
    }

    function test_withdraw_refusesAClosedAccount() public {
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOwner.selector, USER, address(0), OWNER));
        vm.prank(OWNER);
        escrow.withdraw(USER, 0);
    }

    /// What is free stays free while an exit runs.
    function test_withdraw_worksWhileAnExitRuns() public {
        fund("user", 3 * UNIT);
        vm.startPrank(OWNER);
        escrow.startExit(USER, podId);
        escrow.withdraw(USER, 3 * UNIT);
        vm.stopPrank();
        assertAccount(OWNER, 0);
    }

    function test_withdraw_refusesMoreThanFree() public {
        fund("user", 3 * UNIT);
        lockOne(lockRow("user", UNIT, 0));
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.InsufficientFree.selector, USER, 2 * UNIT, 2 * UNIT + 1)
        );
        vm.prank(OWNER);
        escrow.withdraw(USER, 2 * UNIT + 1);
    }

    function testFuzz_depositsAndWithdrawalsAddUp(uint96 first, uint96 second, uint256 out) public {
        uint256 a = bound(first, 1, type(uint96).max / 2);
        uint256 b = bound(second, 1, type(uint96).max / 2);
        fund("user", a);
        fund("user", b);
        out = bound(out, 0, a + b);
        vm.prank(OWNER);
        escrow.withdraw(USER, out);
        assertAccount(OWNER, a + b - out);
        vm.assertEq(token.balanceOf(OWNER), out, "withdrawn");
        vm.assertEq(token.balanceOf(address(escrow)), a + b - out, "kept");
    }

    /// Any one bit of the signature changed: another signer or none, never the user.
    function testFuzz_open_refusesAChangedSignature(uint256 bit) public {
        CompactSignature memory signature = openSignature("user", OWNER);
        bit = bound(bit, 0, 511);
        if (bit < 256) signature.r ^= bytes32(uint256(1) << bit);
        else signature.vs ^= bytes32(uint256(1) << (bit - 256));
        refuseOpen(USER, OWNER, signature, wrongSigner(signature));
    }

    /// Whom the escrow of now takes for the signer of an opening for `OWNER`: not the user.
    function wrongSigner(CompactSignature memory signature) private view returns (bytes memory) {
        bytes32 structHash = keccak256(abi.encode(Eip712.OPEN_ACCOUNT_TYPE, USER, OWNER));
        bytes32 digest = Eip712.digest(escrow.DOMAIN_SEPARATOR(), structHash);
        address signer = Eip712.recover(digest, signature.r, signature.vs);
        vm.assertTrue(signer != USER, "another signer");
        return abi.encodeWithSelector(IEscrow.WrongSigner.selector, USER, signer);
    }

    function assertAccount(address owner, uint256 free) private view {
        Account memory account = escrow.account(USER);
        vm.assertEq(account.owner, owner, "owner");
        vm.assertEq(account.free, free, "free");
    }

    function refuseOpen(
        address user,
        address owner,
        CompactSignature memory signature,
        bytes memory expected
    ) private {
        vm.expectRevert(expected);
        escrow.open(user, owner, signature);
    }
}
