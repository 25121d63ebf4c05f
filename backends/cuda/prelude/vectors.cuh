// Elements that lie side by side, read or written by one access of up to 16 bytes.

template <class T, int N>
struct alignas(sizeof(T) * N) te_vector {
    T at[N];
};

template <int N, class T>
__device__ inline te_vector<T, N> te_load(const T* from) {
    return *reinterpret_cast<const te_vector<T, N>*>(from);
}

template <class T, int N>
__device__ inline void te_store(T* to, te_vector<T, N> elements) {
    *reinterpret_cast<te_vector<T, N>*>(to) = elements;
}
