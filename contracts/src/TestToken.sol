// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "solady/tokens/ERC20.sol";

/// @title A worthless token for development chains and tests only
/// @notice Anyone can mint any amount. Never deploy it where tokens are worth something. It has
/// EIP-2612 permits (from `ERC20`) and EIP-3009 authorizations, as the large dollar tokens do.
// slither-disable-next-line missing-inheritance: what the escrow asks of a token is not its type
contract TestToken is ERC20 {
    bytes32 private constant _TRANSFER_TYPE = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
        "uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant _RECEIVE_TYPE = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
        "uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant _CANCEL_TYPE =
        keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");

    /// @notice Whether `authorizer` has used or cancelled this nonce.
    mapping(address authorizer => mapping(bytes32 nonce => bool)) public authorizationState;

    /// @notice EIP-3009: the authorization moved its amount.
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    /// @notice EIP-3009: the authorization will never move anything.
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

    /// @notice Only the payee may send this authorization.
    error NotPayee(address to, address caller);
    /// @notice The authorization counts after the one and before the other second.
    error OutsideOfTime(uint256 validAfter, uint256 validBefore, uint256 timestamp);
    /// @notice The nonce was used or cancelled before.
    error NonceUsed(address authorizer, bytes32 nonce);
    /// @notice The signature is not by `expected`. A malformed one recovers to zero.
    error WrongSigner(address expected, address recovered);

    /// @notice Creates `amount` (in millionths of a token) for `to`. Open to everybody.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice EIP-3009: moves `value` from `from`, who signed it. Anyone may send it.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(_TRANSFER_TYPE, from, to, value, validAfter, validBefore, nonce)
        );
        _requireTime(validAfter, validBefore);
        _use(from, nonce, structHash, v, r, s);
        emit AuthorizationUsed(from, nonce);
        _transfer(from, to, value);
    }

    /// @notice EIP-3009: the same, sent by the payee only.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        require(msg.sender == to, NotPayee(to, msg.sender));
        bytes32 structHash =
            keccak256(abi.encode(_RECEIVE_TYPE, from, to, value, validAfter, validBefore, nonce));
        _requireTime(validAfter, validBefore);
        _use(from, nonce, structHash, v, r, s);
        emit AuthorizationUsed(from, nonce);
        _transfer(from, to, value);
    }

    /// @notice EIP-3009: makes an unused authorization void.
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)
        external
    {
        _use(authorizer, nonce, keccak256(abi.encode(_CANCEL_TYPE, authorizer, nonce)), v, r, s);
        emit AuthorizationCanceled(authorizer, nonce);
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

    function _use(
        address authorizer,
        bytes32 nonce,
        bytes32 structHash,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) private {
        require(!authorizationState[authorizer][nonce], NonceUsed(authorizer, nonce));
        authorizationState[authorizer][nonce] = true;
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR(), structHash));
        address signer = ecrecover(digest, v, r, s);
        require(signer != address(0) && signer == authorizer, WrongSigner(authorizer, signer));
    }

    function _requireTime(uint256 validAfter, uint256 validBefore) private view {
        bool inTime = block.timestamp > validAfter && block.timestamp < validBefore;
        require(inTime, OutsideOfTime(validAfter, validBefore, block.timestamp));
    }
}
