// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "../src/Eip712.sol";
import {Authorization, CompactSignature, Permit} from "../src/interfaces/IEscrow.sol";
import {Fixture} from "./Fixture.sol";
import {vm} from "./Vm.sol";

/// What payers sign in the token's domain, and users in the escrow's besides what `Fixture` has.
abstract contract TokenSignatures is Fixture {
    bytes32 private constant PERMIT_TYPE = keccak256(
        "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
    );
    bytes32 private constant RECEIVE_TYPE = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
        "uint256 validBefore,bytes32 nonce)"
    );

    /// For the escrow, good for an hour.
    function permitBy(string memory label, uint256 amount)
        internal
        view
        returns (Permit memory permit)
    {
        address payer = addressOf(label);
        permit.amount = amount;
        permit.deadline = block.timestamp + 1 hours;
        permit.signature = signForToken(
            label,
            keccak256(
                abi.encode(
                    PERMIT_TYPE,
                    payer,
                    address(escrow),
                    amount,
                    token.nonces(payer),
                    permit.deadline
                )
            )
        );
    }

    /// To the token directly, as anybody can who sees it.
    function sendPermit(address payer, Permit memory permit) internal {
        (uint8 v, bytes32 s) = Eip712.expand(permit.signature.vs);
        token.permit(
            payer, address(escrow), permit.amount, permit.deadline, v, permit.signature.r, s
        );
    }

    /// For the escrow and the account of `user`, good for an hour from now.
    function authorizationBy(string memory label, address user, uint256 amount, bytes32 salt)
        internal
        view
        returns (Authorization memory authorization)
    {
        authorization.from = addressOf(label);
        authorization.amount = amount;
        authorization.validAfter = block.timestamp - 1;
        authorization.validBefore = block.timestamp + 1 hours;
        authorization.salt = salt;
        authorization.signature = signForToken(label, receiveHash(user, authorization));
    }

    /// Who would have signed this authorization, were it for `user`.
    function authorizationSigner(address user, Authorization memory a)
        internal
        view
        returns (address)
    {
        bytes32 digest = Eip712.digest(token.DOMAIN_SEPARATOR(), receiveHash(user, a));
        return Eip712.recover(digest, a.signature.r, a.signature.vs);
    }

    function withdrawSignature(
        string memory label,
        address user,
        uint96 amount,
        uint64 nonce,
        uint40 deadline
    ) internal view returns (CompactSignature memory) {
        return sign(
            label, keccak256(abi.encode(Eip712.WITHDRAW_TYPE, user, amount, nonce, deadline))
        );
    }

    /// Who signed, in the escrow's domain.
    function recover(bytes32 structHash, CompactSignature memory signature)
        internal
        view
        returns (address)
    {
        bytes32 digest = Eip712.digest(escrow.DOMAIN_SEPARATOR(), structHash);
        return Eip712.recover(digest, signature.r, signature.vs);
    }

    function receiveHash(address user, Authorization memory a) private view returns (bytes32) {
        return keccak256(
            abi.encode(
                RECEIVE_TYPE,
                a.from,
                address(escrow),
                a.amount,
                a.validAfter,
                a.validBefore,
                escrow.depositNonce(user, a.salt)
            )
        );
    }

    function signForToken(string memory label, bytes32 structHash)
        internal
        view
        returns (CompactSignature memory)
    {
        bytes32 digest = Eip712.digest(token.DOMAIN_SEPARATOR(), structHash);
        (bytes32 r, bytes32 vs) = vm.signCompact(secret(label), digest);
        return CompactSignature(r, vs);
    }
}
